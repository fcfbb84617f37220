"""What can go wrong on the way to a server, as the operator is told it."""

from __future__ import annotations

from console.errors import InputError, WorldError, code
from console.i18n import N_

UNREACHABLE = code("ssh.unreachable", WorldError,
                   N_("{server} cannot be reached at {address}:{port}: {reason}."),
                   N_("Check that the server is on, its address and port, and the network and firewall between."),
                   retryable=True)
REFUSED = code("ssh.refused", WorldError,
               N_("{server} is there, but nothing accepts SSH at {address}:{port}."),
               N_("Check the port, and that the SSH service is running on the server."), retryable=True)
SYSTEM_WORDS = (N_("No route to host"), N_("Network is unreachable"), N_("Host is down"), N_("Name or service not known"),
                N_("No address associated with hostname"), N_("Temporary failure in name resolution"), N_("Permission denied"),
                N_("No such file or directory"))
"""Reasons in the system's own words; where they stand in a message, they are told in the reader's language."""
TIMEOUT = code("ssh.timeout", WorldError, N_("{server} did not answer within {timeout_s} s."),
               N_("The server or the network is overloaded or hangs. Try again; if it stays, look at the server."),
               retryable=True)
LOST = code("ssh.connection-lost", WorldError, N_("The connection to {server} was lost."),
            N_("Check the network and whether the server restarted, then try again."), retryable=True)
NOT_SSH = code("ssh.not-ssh", WorldError, N_("What answers at {address}:{port} for {server} does not speak SSH."),
               N_("Check the address and the port of the server."))
BUSY = code("ssh.too-many-logins", WorldError, N_("{server} takes no more log-ins at the moment: {reason}."),
            N_("Try again. If it stays, raise MaxStartups of the SSH service there, see whether it keeps this address out "
               "(PerSourcePenalties), or ask fewer servers at a time (setting inventory.threads)."), retryable=True)
NO_COMMON = code("ssh.no-common-algorithm", WorldError,
                 N_("{server} offers no encryption that Sealift accepts: {reason}."),
                 N_("Update the SSH service on the server; Sealift accepts AES-GCM and AES-CTR with SHA-2."))
PROTOCOL = code("ssh.protocol-error", WorldError, N_("{server} broke the SSH protocol: {reason}."),
                N_("If trying again does not help, something between here and the server alters the traffic, or the "
                   "SSH service on the server is faulty."), retryable=True)
KEY_CHANGED = code("ssh.host-key-changed", WorldError,
                   N_("The host key of {server} has changed. Trusted: {expected}. Offered now: {offered}."),
                   N_("Somebody may be in between, or the server was installed anew. Nothing was sent. Ask its "
                      "administrator for the fingerprint, compare, and trust the new key only if they are equal."))
KEY_UNKNOWN = code("ssh.host-key-unknown", WorldError,
                   N_("The host key of {server} is not trusted yet. Offered: {offered}."),
                   N_("Compare this fingerprint with the one that the server's administrator gives, then trust it: "
                      "sealift server trust {server} {offered}."))
AUTH_FAILED = code("ssh.auth-failed", WorldError,
                   N_("{server} did not accept {user} by {method}. It accepts: {accepted}."),
                   N_("Check the user, and the key or password, and that the server allows this way of logging in."))
CERT_REFUSED = code("ssh.host-certificate", WorldError,
                    N_("The host certificate of {server} is not accepted: {reason}. Key offered: {offered}."),
                    N_("Nothing was sent. Have the certificate of the server renewed by its authority, or compare the key's "
                       "fingerprint with the one that the server's administrator gives and trust the key itself."))
PASSWORD_NEEDED = code("ssh.password-needed", InputError, N_("A password is needed for {user} on {server}."),
                       N_("Give it when asked, or with --ssh-password-file."))
IDENTITY_MISSING = code("ssh.identity-missing", InputError,
                        N_("The key file {path} for {server} cannot be read: {reason}."),
                        N_("Correct the path of the key file in the server's entry."))
IDENTITY_LOCKED = code("ssh.identity-locked", InputError, N_("The key file {path} needs its passphrase."),
                       N_("Give the passphrase when asked, or with --identity-passphrase-file, or load the key into "
                          "an agent."))
IDENTITY_PASSPHRASE = code("ssh.identity-passphrase", InputError, N_("The passphrase of the key file {path} is wrong."),
                           N_("Give the right passphrase."))
IDENTITY_MALFORMED = code("ssh.identity-malformed", InputError, N_("{path} is not a private key that can be used."),
                          N_("Name an OpenSSH or PEM private key of the kind Ed25519, ECDSA or RSA."))
NO_AGENT_KEY = code("ssh.no-agent-key", InputError, N_("No SSH agent with a key was found for {server}."),
                    N_("Start an agent and add the key (ssh-add), or choose a key file or a password."))
SUDO_REFUSED = code("ssh.sudo-refused", WorldError, N_("{user} may not act as root on {server}: {reason}."),
                    N_("Check the sudo setting of the server, the sudo password, and the rights in sudoers."))
SUDO_PASSWORD_NEEDED = code("ssh.sudo-password-needed", InputError,
                            N_("The sudo password of {user} on {server} is needed."),
                            N_("Give it when asked, or with --sudo-password-file."))
PORT_REFUSED = code("ssh.forward-refused", WorldError,
                    N_("{server} did not open a connection to {host}:{port}: {reason}."),
                    N_("Check that something listens there, and that the SSH service allows TCP forwarding."),
                    retryable=True)
CHANNEL_REFUSED = code("ssh.channel-refused", WorldError, N_("{server} refused to run a command: {reason}."),
                       N_("Check that the account may run commands (no forced command, MaxSessions not used up)."),
                       retryable=True)
