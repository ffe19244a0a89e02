"""The key goes to the server and nowhere else, and TLS is what keeps it between the two."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from endpoint_asking import Heard, answering, ask, asked, chunked, endpoint, event, response, run, started, stream
from mock_serving import AT_ONCE, serving

from bench.core.errors import EngineError, InputError
from bench.engine.mock_server.settings import MockServerSettings

KEY = "sk-a-very-secret-key"
LOCALHOST = Path(__file__).with_name("localhost.pem")
"""A key made for these tests, and the certificate of `localhost` that it signed itself."""
WHOLE = chunked(stream("a", "b", "c", "d"))


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ENDPOINT_TEST_KEY", KEY)
    return "ENDPOINT_TEST_KEY"


def server_side() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    return context


def test_the_server_gets_the_key(variable: str) -> None:
    with serving(MockServerSettings(**AT_ONCE, api_key=KEY)) as url:

        async def main() -> Heard:
            async with started(url, api_key_env=variable) as engine:
                assert KEY not in str(engine.describe())
                return await ask(engine, asked())

        assert run(main()).tokens == 4
        with pytest.raises(InputError, match=r"^engine\.api_key_env: .* answers 401: the key is wrong"):
            run(endpoint(url).start())


@pytest.mark.parametrize("value", [None, "", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_is_none(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDPOINT_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("ENDPOINT_TEST_KEY", value)
    with pytest.raises(InputError, match="'ENDPOINT_TEST_KEY'") as refused:
        run(endpoint("http://127.0.0.1:1", api_key_env="ENDPOINT_TEST_KEY").start())
    assert not value or value not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        response(f'{{"error": {{"message": "wrong key {KEY}"}}}}'.encode(), status=401),
        response(b" " * 5 + f"wrong key {KEY}".encode(), status=500),
        response(b"x" * 190 + KEY.encode(), status=500),
        chunked(event({"error": {"message": f"wrong key {KEY}"}})),
        response(b"", f"content-type: text/html {KEY}"),
    ],
)
def test_a_server_that_tells_the_key_back(answer: bytes, variable: str) -> None:
    async def main() -> Heard:
        async with answering(answer) as server, started(server.url, api_key_env=variable) as engine:
            return await ask(engine, asked())

    error = run(main()).end.error
    assert error is not None
    assert KEY[:8] not in error


def test_requests_do_not_show_what_goes_over_the_wire(variable: str) -> None:
    async def main() -> str:
        async with answering(WHOLE) as server, started(server.url, api_key_env=variable) as engine:
            request = engine.prepare(asked())
            assert KEY.encode() in request.body
            return repr(request)

    assert KEY not in run(main())


@pytest.mark.parametrize("on_uvloop", [True, False])
def test_tls_with_a_certificate_of_its_own(on_uvloop: bool) -> None:
    async def main() -> None:
        async with answering(WHOLE, tls=server_side()) as server:
            async with started(server.url, ca_file=str(LOCALHOST)) as engine:
                for _ in range(3):
                    assert (await ask(engine, asked())).tokens == 4
                assert engine.describe()["tls"] == {"verified": True, "ca_file": str(LOCALHOST)}
                assert engine.describe()["connections"]["opened"] == 1
            async with started(server.url, verify_tls=False) as engine:
                assert (await ask(engine, asked())).tokens == 4
                assert engine.describe()["tls"] == {"verified": False, "ca_file": None}
            with pytest.raises(EngineError, match="does not answer: tls: self-signed certificate"):
                await endpoint(server.url).start()

    run(main(), on_uvloop=on_uvloop)


def test_tls_to_a_server_that_has_none() -> None:
    async def main() -> None:
        async with answering(WHOLE) as server:
            await endpoint(server.url.replace("http:", "https:"), connect_timeout_s=0.3).start()

    with pytest.raises(EngineError, match=r"does not answer: (tls|reset|connect_timeout)"):
        run(main())


def test_a_file_that_holds_no_certificates(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    for text in (None, "no certificate"):
        if text is not None:
            wrong.write_text(text)
        with pytest.raises(InputError, match=r"^engine\.ca_file: .*wrong\.pem: "):
            endpoint("https://127.0.0.1:1", ca_file=str(wrong))


def test_certificates_that_nobody_would_look_at() -> None:
    with pytest.raises(InputError, match=r"^engine\.ca_file: the server is asked without TLS"):
        endpoint("http://127.0.0.1:1", ca_file=str(LOCALHOST))
