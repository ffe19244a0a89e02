"""Who answers: engines that all speak core's Engine protocol."""
