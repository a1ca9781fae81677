"""The outbox: written with what it tells of, delivered at least once, and what it never says."""

from __future__ import annotations

import smtplib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_gateway.notices.channels import FileChannel, SmtpChannel
from ehr_gateway.notices.delivery import DeliveryWorker
from ehr_gateway.notices.messages import Message
from ehr_gateway.notices.outbox import Notice, queue_notice
from tests.lib.gateway import House, must
from tests.spec.access.steps import ask, named, send, told


class Sink(socketserver.StreamRequestHandler):
    """A mail server that takes everything down."""

    def handle(self) -> None:
        """Speak as much of SMTP as a client needs (RFC 5321 §4.1)."""
        self.wfile.write(b"220 sink\r\n")
        data = False
        lines: list[bytes] = []
        for line in self.rfile:
            if data:
                data = line != b".\r\n"
                lines.append(line)
                if not data:
                    self.server.mails.append(b"".join(lines))  # type: ignore[attr-defined]
                    self.wfile.write(b"250 taken\r\n")
            elif line.upper().startswith(b"DATA"):
                data = True
                self.wfile.write(b"354 go on\r\n")
            elif line.upper().startswith(b"QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


@pytest.fixture
def sink() -> Iterator[socketserver.TCPServer]:
    """Run a mail server on a free port."""
    with socketserver.TCPServer(("127.0.0.1", 0), Sink) as server:
        server.mails = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Broken:
    """A channel that is down until it is mended."""

    name, needs_email = "broken", False

    def __init__(self) -> None:
        self.down, self.sent = True, 0

    def send(self, message: Message) -> None:
        """Deliver, or not."""
        if self.down:
            raise ConnectionRefusedError
        self.sent += 1


def deliveries(house: House, *channels: object) -> DeliveryWorker:
    """Return deliveries by these channels."""
    gateway = house.gateway
    return DeliveryWorker(
        gateway.store, channels, gateway.audit_batcher.flush, secret=gateway.form_secret,  # type: ignore[arg-type]
        address="http://portal.test", clock=house.clock,
    )  # fmt: skip


def declared(house: House) -> None:
    """Declare an emergency of pat-1."""
    must(
        send(
            house.login("doctor.b"),
            "Patient/pat-1/$declare-emergency",
            reason="Unconscious in the emergency room",
        )
    )


def test_a_file_for_the_owners_eyes_in_both_languages_where_none_is_known(
    furnished: House, tmp_path: Path
) -> None:
    declared(furnished)
    deliveries(furnished, FileChannel(tmp_path / "out")).deliver_due()

    (file,) = (tmp_path / "out").iterdir()
    text = file.read_text("utf-8")
    assert "in an emergency" in text and "緊急情況" in text
    assert "Unconscious" not in text
    assert file.stat().st_mode & 0o077 == 0


def test_mail_goes_to_the_address_and_in_the_language_the_patient_chose(
    furnished: House, sink: socketserver.TCPServer
) -> None:
    patient = furnished.login("p.pat-1")
    chosen = {"language": "zh-Hans", "email": "someone@example.test", "each_access": "no"}
    must(send(patient, "$notice-preference", **chosen))
    declared(furnished)
    mail = SmtpChannel(f"smtp://127.0.0.1:{sink.server_address[1]}", "ehr@example.test")
    deliveries(furnished, mail).deliver_due()

    (raw,) = sink.mails  # type: ignore[attr-defined]
    assert b"To: someone@example.test" in raw
    assert b"Message-ID: <" in raw
    counts = named(furnished.login("steward").get("$notice-deliveries"))["count"]
    assert counts == [{"channel": ["smtp"], "state": ["sent"], "number": [1]}]


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_mail_goes_over_tls_to_the_server_that_was_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    trusts: list[ssl.SSLContext] = []

    class Server:
        """A mail server's client that only looks how it is asked to trust."""

        def __init__(self, *_: object, context: ssl.SSLContext | None = None, **__: object) -> None:
            if context is not None:
                trusts.append(context)

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None: ...

        def starttls(self, context: ssl.SSLContext) -> None:
            trusts.append(context)

        def send_message(self, mail: object) -> None:
            assert trusts

    monkeypatch.setattr(smtplib, "SMTP", Server)
    monkeypatch.setattr(smtplib, "SMTP_SSL", Server)

    message = Message("one", "someone@example.test", "Subject", "Text")
    SmtpChannel(f"{scheme}://mail.example.test", "ehr@example.test").send(message)

    (trust,) = trusts
    assert trust.check_hostname
    assert trust.verify_mode == ssl.CERT_REQUIRED


def test_without_an_address_the_steward_sees_that_nobody_was_reached(furnished: House) -> None:
    declared(furnished)
    deliveries(furnished, SmtpChannel("smtp://127.0.0.1:9", "ehr@example.test")).deliver_due()

    (one,) = named(furnished.login("steward").get("$notice-deliveries"))["delivery"]
    assert (one["state"], one["kind"]) == (["no-address"], ["emergency"])
    assert furnished.login("doctor.b").get("$notice-deliveries").status_code == 403


def test_a_channel_that_is_down_is_tried_again_with_growing_pauses(furnished: House) -> None:
    declared(furnished)
    channel = Broken()
    working = deliveries(furnished, channel)
    assert [working.deliver_due(), working.deliver_due()] == [1, 0]
    furnished.clock.forward(seconds=10)
    assert [working.deliver_due(), working.deliver_due()] == [1, 0]
    furnished.clock.forward(seconds=10)
    assert working.deliver_due() == 0

    channel.down = False
    furnished.clock.forward(seconds=10)
    assert [working.deliver_due(), working.deliver_due(), channel.sent] == [1, 0, 1]


def test_one_that_cannot_be_written_holds_up_no_other(furnished: House) -> None:
    declared(furnished)
    with furnished.gateway.store.write_transaction() as connection:
        queue_notice(
            connection, Notice("odd", "no-such-kind", "pat-1", "Patient/pat-1", "A", None, 0)
        )
    channel = Broken()
    channel.down = False

    assert deliveries(furnished, channel).deliver_due() == 2
    assert channel.sent == 1
    (one,) = named(furnished.login("steward").get("$notice-deliveries"))["delivery"]
    assert (one["state"], one["fault"]) == (["waiting"], ["not-written"])


def test_a_process_that_ends_does_not_wait_for_all_that_is_to_be_sent(furnished: House) -> None:
    declared(furnished)
    channel = Broken()
    working = deliveries(furnished, channel)
    working.stop()

    assert working.deliver_due() == 0
    assert channel.sent == 0


def test_a_delivery_cut_off_in_the_middle_is_made_again(furnished: House) -> None:
    declared(furnished)
    channel = Broken()
    cut = deliveries(furnished, channel)
    cut._route()
    assert len(cut._claim()) == 1

    channel.down = False
    other = deliveries(furnished, channel)
    assert other.deliver_due() == 0
    furnished.clock.forward(seconds=120)
    assert [other.deliver_due(), channel.sent] == [1, 1]


def test_a_step_that_fails_tells_nobody(furnished: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(
        "ehr_gateway.access_requests.step_transaction.recorder.build_event_rows", failing
    )
    answer = send(
        furnished.login("doctor.b"),
        "Patient/pat-1/$declare-emergency",
        reason="Unconscious in the emergency room",
    )
    monkeypatch.undo()

    assert answer.status_code == 500
    assert told(furnished) == []
    assert furnished.login("doctor.b").get("Condition/con-1").status_code == 404


def test_the_first_access_after_sharing_is_told_and_later_ones_where_wanted(
    furnished: House,
) -> None:
    furnished.share()
    working, doctor = deliveries(furnished), furnished.login("doctor.b")
    for _ in range(2):
        must(doctor.get("Condition/con-1"))
        working.deliver_due()
    assert [kind for kind, _ in told(furnished)] == ["first-access"]

    patient = furnished.login("p.pat-1")
    must(send(patient, "$notice-preference", each_access="yes"))
    furnished.clock.forward(seconds=3600)
    must(furnished.login("doctor.b").get("Condition/con-1"))
    working.deliver_due()

    assert [kind for kind, _ in told(furnished)] == ["access", "first-access"]


def test_what_an_organisation_wrote_itself_is_not_told(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Condition/con-1"))
    deliveries(furnished).deliver_due()

    assert told(furnished) == []


def test_the_background_thread_delivers(furnished: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehr_gateway.notices.delivery._INTERVAL_SECONDS", 0.01)
    declared(furnished)
    done, channel = threading.Event(), Broken()
    channel.down = False
    monkeypatch.setattr(channel, "send", lambda message: done.set())
    working = deliveries(furnished, channel)
    working.start()
    try:
        assert done.wait(20)
    finally:
        working.stop()


@pytest.mark.parametrize(
    "given", [{"language": "fr"}, {"email": "no address"}, {"email": "a@b\r\nBcc: x@y.hk"}]
)
def test_a_wrong_preference_is_refused_without_repeating_it(
    furnished: House, given: dict[str, str]
) -> None:
    answer = send(furnished.login("p.pat-1"), "$notice-preference", each_access="no", **given)

    assert answer.status_code == 422
    assert next(iter(given.values())) not in answer.text


def test_notices_are_the_readers_own(furnished: House) -> None:
    declared(furnished)

    assert told(furnished, furnished.login("p.pat-2")) == []
    assert furnished.login("doctor.a").get("$notices").status_code == 403


def test_no_code_is_in_the_database(furnished: House) -> None:
    furnished.share()
    request = ask(furnished.login("pharmacist.b"))
    ((_, text),) = told(furnished)
    code = "".join(letter for letter in text if letter.isdigit())[:8]
    tables = ("notice", "notice_delivery", "access_request", "audit")
    with furnished.gateway.store.read_transaction() as connection:
        rows = [
            str(tuple(row))
            for table in tables
            for row in connection.execute(f"SELECT * FROM {table}").fetchall()
        ]

    assert any(request in row for row in rows)
    assert not any(code in row for row in rows)
