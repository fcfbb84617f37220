"""Becoming root: the password goes to sudo and nowhere else. The ``sudo`` here is a small double of its protocol."""

from __future__ import annotations

from contextlib import closing

import pytest

from console.errors import SealiftError
from console.secrets import Secret
from console.transport.ssh import connect
from console.transport.target import Login

SUDO = r"""#!/bin/sh
# -S: prompt on standard error, password from standard input, three tries. -n: never ask.
ask= prompt= quiet=
while [ $# -gt 0 ]; do case $1 in
  -S) ask=1;; -k) ;; -n) quiet=1;; -p) prompt=$2; shift;; --) shift; break;; *) break;;
esac; shift; done
case "$(cat "$HOME/sudo-mode")" in
  free) exec "$@";;
  floods) exec yes "$prompt" >&2;;
  denied) echo "practice is not in the sudoers file." >&2; exit 1;;
esac
[ -n "$quiet" ] && { echo "sudo: a password is required" >&2; exit 1; }
for try in 1 2 3; do
  echo "We trust you have received the usual lecture." >&2
  printf '%s' "$prompt" >&2
  read -r word || exit 1
  [ "$word" = "correct horse" ] && exec "$@"
  echo "Sorry, try again." >&2
done
exit 1
"""


@pytest.fixture
def with_sudo(practice_server):
    server = practice_server()
    (server.tools / "sudo").write_text(SUDO)
    (server.tools / "sudo").chmod(0o755)

    def made(mode: str, sudo: str = "password", password: str | None = "correct horse"):
        (server.home / "sudo-mode").write_text(mode)
        login = Login(sudo_password=Secret(password) if password else None)
        return closing(connect(server.target(sudo=sudo), login))

    return made


def refusal(link) -> SealiftError:
    with pytest.raises(SealiftError) as caught:
        link.run(("cat",), stdin=b"data", sudo=True)
    return caught.value


def test_password_first_then_the_data(with_sudo):
    with with_sudo("asks") as link:
        done = link.run(("sh", "-c", "cat; echo err >&2; exit 4"), stdin=b"data", sudo=True)
        assert (done.stdout, done.stderr, done.exit_code) == (b"data", b"err\n", 4)


def test_password_never_reaches_a_command_that_sudo_does_not_ask_for(with_sudo):
    with with_sudo("free") as link:
        assert link.run(("cat",), stdin=b"data", sudo=True).stdout == b"data"


def test_wrong_password_is_known_at_once(with_sudo):
    with with_sudo("asks", password="wrong") as link:
        problem = refusal(link)
        assert problem.code == "ssh.sudo-refused" and "wrong" in problem.message()
        assert "wrong horse" not in problem.message()


def test_not_in_sudoers(with_sudo):
    with with_sudo("denied") as link:
        problem = refusal(link)
        assert problem.code == "ssh.sudo-refused" and "not in the sudoers" in problem.message()


def test_nopasswd_asks_nothing(with_sudo):
    with with_sudo("free", "nopasswd", None) as link:
        assert link.run(("cat",), stdin=b"x", sudo=True).stdout == b"x"
    with with_sudo("asks", "nopasswd", None) as link:
        assert refusal(link).code == "ssh.sudo-refused"


def test_missing_password_and_no_sudo_are_named(with_sudo):
    with with_sudo("asks", password=None) as link:
        assert refusal(link).code == "ssh.sudo-password-needed"
        link.ask_sudo = lambda: Secret("correct horse")
        assert link.run(("cat",), stdin=b"data", sudo=True).stdout == b"data"
    with with_sudo("asks", "none") as link:
        assert refusal(link).code == "ssh.sudo-refused"


def test_a_sudo_that_never_stops_talking_is_ended(with_sudo):
    with with_sudo("floods", password="wrong") as link:
        assert refusal(link).code == "ssh.sudo-refused"
        assert link.run(("echo", "on")).ok
    with with_sudo("floods", "nopasswd", None) as link:
        problem = refusal(link)
        assert problem.code == "ssh.sudo-refused" and "end of what it says" in problem.message()


def test_who_gave_a_wrong_password_is_told(with_sudo):
    told = []
    with with_sudo("asks", password="wrong") as link:
        link.sudo_wrong = lambda: told.append("wrong")
        refusal(link)
    with with_sudo("asks") as link:
        link.sudo_wrong = lambda: told.append("right")
        link.run(("true",), sudo=True)
    assert told == ["wrong"]
