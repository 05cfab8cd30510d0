"""People sign in at an issuer of identities, and nobody does whom it does not vouch for."""

import hmac
import json
import os
import re
import stat
import time
import urllib.error
import urllib.request

import pytest
from joserfc.jwk import RSAKey

from harness.cluster import Cluster
from harness.issuer import encoded, issuing

DENIED = 6
AWAY = 5
USAGE = 2
NOT_FOUND = 3
CONFIG = """\
[oidc]
issuer = "{issuer}"
client_id = "manta"
device = {device}
{more}
[oidc.roles]
"ops team" = "operator"
staff = "viewer"
"""


class Lab:
    """A manager that trusts an issuer, and a user of this machine who has a context for it and no token."""

    def __init__(self, manta, issuer):
        self.manta, self.issuer = manta, issuer
        self.cluster = Cluster(manta)

    def start(self, more="", device="true"):
        """Start the manager with further lines of settings, and make a context for it."""
        config = self.manta.work / "manager.toml"
        config.write_text(CONFIG.format(issuer=self.issuer.url, more=more, device=device))
        self.cluster.start_manager(options=("--config", config))
        self.manta("context", "rm", "lab")
        assert self.manta("context", "add", "lab", "--manager", self.cluster.url, "--use").code == 0
        return self

    def admin(self, *arguments):
        """Run a command as the administrator."""
        return self.manta(*arguments, environment=self.cluster.as_user)

    def begin(self, *arguments):
        """Begin a sign-in; gives the command and the page to open."""
        command = self.manta.start("login", "--context", "lab", *arguments)
        command.wait_for(self.issuer.url + "/", limit_s=20)
        return command, re.search(rf"  ({re.escape(self.issuer.url)}/\S+)\n", command.text()).group(1)

    def sign_in(self, *arguments):
        """Sign in as the issuer's person, and return how the command ended."""
        command, page = self.begin(*arguments)
        visit(page)
        return command.end(20)

    def whoami(self):
        """Who the context's token says one is."""
        ended = self.manta("whoami", "--context", "lab", "--json")
        assert ended.code == 0, ended.text
        return ended.documents()[0]["who"]

    def credentials(self):
        """The file in which tokens of contexts are kept."""
        return self.manta.root / "h" / ".config" / "manta" / "credentials.toml"


def visit(page):
    """Open a page as a browser does; gives its text."""
    try:
        with urllib.request.urlopen(page, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def post(url, document):
    """Ask the manager as nobody; gives status and answer."""
    request = urllib.request.Request(
        url, json.dumps(document).encode(), {"content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def lab(manta):
    with issuing() as issuer:
        yield Lab(manta, issuer)


def test_a_person_signs_in_with_a_token_of_their_own_and_out_again(lab):
    lab.start()
    refused = lab.sign_in()
    assert refused.code == DENIED and "there is no user `ada` here" in refused.err, refused.text
    assert not lab.credentials().exists(), "nothing is kept of what was refused"

    assert lab.admin("user", "add", "ada", "--role", "developer").code == 0
    ended = lab.sign_in()
    assert ended.code == 0 and "signed in as ada (developer) for context lab" in ended.err, ended.text
    assert "mnt_u_" not in ended.text and "mnt_u_" in lab.credentials().read_text(), "it is shown to nobody"
    assert stat.S_IMODE(os.stat(lab.credentials()).st_mode) == 0o600
    who = lab.whoami()
    assert (who["name"], who["role"]) == ("ada", "developer")
    assert abs(who["expires_ms"] / 1000 - time.time() - 12 * 3600) < 120, "twelve hours, unless told otherwise"

    audit = lab.admin("audit", "--json").documents()
    records = [record for record in (audit[0].get("records") or audit) if record["route"].endswith("sign-in/end")]
    assert [(record["who"], record["outcome"]) for record in records] == [("nobody", "MANTA-0404"), ("ada", "done")]
    assert records[0]["object"].endswith(" ada") and who["token"] in records[1]["object"], records

    token = re.search(r"mnt_u_\w+", lab.credentials().read_text()).group(0)
    ended = lab.manta("logout", "--context", "lab")
    assert ended.code == 0 and "its token counts no more" in ended.err, ended.text
    assert "mnt_u_" not in lab.credentials().read_text()
    shown = lab.manta("whoami", "--context", "lab", environment={"MANTA_TOKEN": token})
    assert shown.code == DENIED and "is revoked" in shown.err, shown.text
    assert lab.manta("logout", "--context", "lab").code == NOT_FOUND


def test_groups_give_a_role_and_another_at_the_next_sign_in(lab):
    lab.start()
    lab.issuer.person["groups"] = ["staff", "ops team"]
    assert lab.sign_in().code == 0
    assert lab.whoami()["role"] == "operator", "the greatest counts"
    first = re.search(r"mnt_u_\w+", lab.credentials().read_text()).group(0)
    lab.issuer.person["groups"] = ["staff"]
    assert lab.sign_in().code == 0
    assert lab.whoami()["role"] == "viewer"
    earlier = lab.manta("whoami", "--context", "lab", "--json", environment={"MANTA_TOKEN": first})
    assert '"viewer"' in earlier.out, "at once, for all tokens"
    lab.issuer.person["groups"] = []
    refused = lab.sign_in()
    assert refused.code == DENIED and "none of the groups of `ada` gives a role any more" in refused.err, refused.text


def test_one_signs_in_to_the_cluster_of_the_context_and_to_no_other(lab):
    lab.start('default_role = "viewer"')
    assert lab.admin("cluster", "add", "ulm").code == 0
    there = ("context", "add", "ulm", "--manager", lab.cluster.url, "--cluster", "ulm")
    assert lab.manta(*there).code == 0
    lab.issuer.person["groups"] = ["ops team"]

    def sign_in(context, *arguments):
        command = lab.manta.start("login", "--context", context, *arguments)
        command.wait_for(lab.issuer.url + "/", limit_s=20)
        if not arguments:
            visit(re.search(rf"  ({re.escape(lab.issuer.url)}/\S+)\n", command.text()).group(1))
        return command.end(20)

    refused = sign_in("ulm")
    assert refused.code == DENIED and "there is no user `ada` here" in refused.err, "groups are for the first cluster"
    assert lab.admin("user", "add", "ada", "--role", "developer", "--cluster", "ulm").code == 0
    ended = sign_in("ulm")
    assert ended.code == 0 and "signed in as ada (developer) for context ulm" in ended.err, ended.text
    assert lab.sign_in().code == 0 and lab.whoami()["role"] == "operator", "the same person is another user there"
    who = lab.manta("whoami", "--context", "ulm", "--json").documents()[0]["who"]
    assert (who["name"], who["role"], who["cluster"]) == ("ada", "developer", "ulm")
    assert lab.manta("ls", "--context", "ulm").code == 0
    outside = lab.manta("ls", "--context", "ulm", "--cluster", "default")
    assert outside.code == NOT_FOUND and "your token is for the cluster `ulm`" in outside.err, outside.text
    for cluster, outcomes in (("ulm", ["MANTA-0404", "done"]), ("default", ["done"])):
        records = lab.admin("audit", "--json", "--cluster", cluster).documents()[0]["records"]
        signed = [record["outcome"] for record in records if record["route"].endswith("sign-in/end")]
        assert signed == outcomes, records

    lab.issuer.device_is_done = True
    on_device = sign_in("ulm", "--device")
    assert on_device.code == 0, on_device.text
    assert lab.manta("logout", "--context", "ulm").code == 0
    assert lab.whoami()["cluster"] == "default", "the other token counts on"
    nowhere = ("context", "add", "nowhere", "--manager", lab.cluster.url, "--cluster", "bonn")
    assert lab.manta(*nowhere).code == 0
    stray = sign_in("nowhere")
    assert stray.code == NOT_FOUND and "there is no cluster `bonn` here" in stray.err, stray.text


def test_who_was_removed_stays_out_until_they_are_added_and_nobody_takes_their_name(lab):
    lab.start('default_role = "viewer"')
    assert lab.sign_in().code == 0
    assert lab.admin("user", "rm", "ada").code == 0
    lab.cluster.manager.stop()
    lab.start('default_role = "viewer"')
    refused = lab.sign_in()
    assert refused.code == DENIED and "the user `ada` was removed from the cluster" in refused.err, refused.text
    assert lab.admin("user", "add", "ada", "--role", "developer").code == 0
    assert lab.sign_in().code == 0 and lab.whoami()["role"] == "developer"
    lab.issuer.person["sub"] = "2"
    refused = lab.sign_in()
    assert refused.code == DENIED and "`ada` is another person of the issuer's" in refused.err, refused.text
    for name in ("administrator", "Ada!", "node"):
        lab.issuer.person["preferred_username"] = name
        refused = lab.sign_in()
        assert refused.code == DENIED and f"the issuer calls you `{name}`" in refused.err, refused.text


def test_one_signs_in_on_another_device(lab):
    lab.start('default_role = "viewer"')
    command, page = lab.begin("--device")
    assert page == f"{lab.issuer.url}/device" and "WDJB-MJHT" in command.text(), command.text()
    lab.issuer.device_is_done = True
    ended = command.end(20)
    assert ended.code == 0 and lab.whoami()["name"] == "ada", ended.text
    lab.cluster.manager.stop()
    lab.start(device="false")
    ended = lab.manta("login", "--context", "lab", "--device")
    assert ended.code == DENIED and "lets nobody sign in on another device" in ended.err, ended.text


def test_an_id_token_that_is_not_to_be_believed_lets_nobody_in(lab):
    lab.start('default_role = "admin"')
    issuer = lab.issuer
    stranger = RSAKey.generate_key(2048, {"kid": "first", "use": "sig", "alg": "RS256"})
    unknown = RSAKey.generate_key(2048, {"kid": "other", "use": "sig", "alg": "RS256"})

    def unsigned(claims):
        return f"{encoded({'alg': 'none'})}.{encoded(claims)}."

    def with_the_public_key(claims):
        # The library does not do what an attacker does.
        signed = f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{encoded(claims)}"
        return f"{signed}.{encoded(hmac.digest(issuer.public_key(), signed.encode(), 'sha256'))}"

    now = int(time.time())
    lies = [
        ({"aud": "another"}, None, "it is not for this client"),
        ({"aud": ["manta", "another"]}, None, "it is not for this client"),
        ({"nonce": "0" * 64}, None, "it belongs to another sign-in"),
        ({"nonce": None}, None, "it belongs to another sign-in"),
        ({"iat": now - 7200, "exp": now - 120}, None, "it is over"),
        ({"iat": now + 7200}, None, "made in times to come"),
        ({"iss": "https://elsewhere.example"}, None, "it is another issuer's"),
        ({}, lambda claims: issuer.sign_properly(claims, stranger), "its signature does not hold"),
        ({}, lambda claims: issuer.sign_properly(claims, unknown), "a key that is not the issuer's"),
        ({}, unsigned, "it is not signed"),
        ({}, with_the_public_key, "signed in a way that is not accepted"),
        ({"preferred_username": None}, None, "has no `preferred_username`"),
    ]
    for claims, sign, told in lies:
        issuer.claims, issuer.sign = claims, sign or issuer.sign_properly
        ended = lab.sign_in()
        assert ended.code == DENIED and told in ended.err, (claims, ended.text)
        assert len(re.findall(r"^error\[MANTA-0404\]: ", ended.err, re.M)) == 1, ended.err
    assert lab.admin("user", "ls", "--json").documents()[0]["users"] == [], "and nobody is there by that"
    issuer.claims, issuer.sign = {"exp": now - 30, "iat": now - 60}, issuer.sign_properly
    assert lab.sign_in().code == 0, "clocks may be a minute apart"


def test_keys_may_change_at_any_time(lab):
    lab.start('default_role = "viewer"')
    assert lab.sign_in().code == 0
    lab.issuer.rotate()
    assert lab.sign_in().code == 0
    asked = lab.issuer.asked.count("/keys")
    assert lab.sign_in().code == 0 and lab.issuer.asked.count("/keys") == asked, "known keys are not asked for again"


def test_codes_count_once_and_belong_to_who_began(lab):
    lab.start('default_role = "viewer"')
    where = f"{lab.cluster.url}/v1/clusters/default/sign-in"
    back = "http://127.0.0.1:9/"

    def begun():
        status, told = post(where, {"redirect": back})
        assert status == 201, told
        request = urllib.request.Request(told["url"])
        opener = urllib.request.build_opener(NoRedirect)
        with opener.open(request, timeout=10) as answer:
            code = re.search(r"code=([^&]+)", answer.headers["location"]).group(1)
        return told, {"redirect": back, "state": told["state"], "code": code}

    told, returned = begun()
    other, theirs = begun()
    wrong = [
        ({**returned, "state": "0" * 64}, "does not belong to this sign-in"),
        ({**returned, "state": theirs["state"]}, "does not belong to this sign-in"),
        ({**returned, "redirect": "http://127.0.0.1:10/"}, "does not belong to this sign-in"),
        ({**returned, "code": theirs["code"]}, "the issuer refused: invalid_grant"),
    ]
    for sent, sentence in wrong:
        status, answer = post(f"{where}/end", {"ticket": told["ticket"], "returned": sent})
        assert status == 401 and sentence in answer["detail"], answer
    for redirect in ("https://evil.example/", "http://127.0.0.1:9/other", "http://evil.example@127.0.0.1:9/", "x"):
        status, answer = post(where, {"redirect": redirect})
        assert status == 400 and "browsers are sent back to `http://127.0.0.1/`" in answer["detail"], answer
    status, answer = post(f"{where}/end", {"ticket": told["ticket"], "returned": returned})
    assert status == 200 and answer["token"]["user"] == "ada", answer
    lab.issuer.token = lambda *_: (_ for _ in ()).throw(AssertionError("the issuer is not asked"))
    status, answer = post(f"{where}/end", {"ticket": told["ticket"], "returned": returned})
    assert status == 401 and "a code counts once" in answer["detail"], answer
    later = other["ticket"][:32] + "f" * 16
    status, answer = post(f"{where}/end", {"ticket": later, "returned": theirs})
    assert status == 401 and "does not belong to this sign-in" in answer["detail"], "no ticket lasts longer"


class NoRedirect(urllib.request.HTTPErrorProcessor):
    """Shows where one is sent, and does not go."""

    def http_response(self, request, response):
        """Pass the answer on as it is."""
        return response


def test_a_browser_that_brings_something_else_is_passed_over(lab):
    lab.start('default_role = "viewer"')
    command, page = lab.begin()
    back = urllib.request.unquote(re.search(r"redirect_uri=([^&]+)", page).group(1))
    assert "does not belong" in visit(f"{back}?code=x&state=wrong")
    assert "does not belong" in visit(f"{back}elsewhere?code=x")
    command.wait_for("a state that does not belong to this sign-in")
    assert "Close this page" in visit(page)
    assert command.end(20).code == 0
    lab.issuer.refusal = "access_denied"
    ended = lab.sign_in()
    assert ended.code == DENIED and "the issuer refused: access_denied" in ended.err, ended.text


def test_a_manager_serves_all_else_while_its_issuer_is_away(manta):
    with issuing() as issuer:
        lab = Lab(manta, issuer)
    lab.start()
    assert lab.admin("ls").code == 0
    with urllib.request.urlopen(f"{lab.cluster.url}/readyz", timeout=10) as answer:
        assert answer.status == 200
    ended = manta("login", "--context", "lab")
    assert ended.code == AWAY and "MANTA-0607" in ended.err and issuer.url in ended.err, ended.text
    found = lab.admin("doctor", "--json")
    checks = {check["name"]: check for check in found.documents()[0]["site"]}
    assert checks["sign-in"]["state"] == "doubtful" and issuer.url in checks["sign-in"]["found"], found.text
    lab.cluster.manager.wait_for("nobody can sign in")
    with issuing(int(issuer.url.rsplit(":", 1)[1])) as back:
        back.person["groups"] = ["staff"]
        assert Lab.sign_in(lab).code == 0, "and it is back when the issuer is"


def test_settings_and_contexts_that_cannot_be_used_are_told(lab, manta):
    lab.start()
    config = manta.work / "wrong.toml"
    config.write_text('[oidc]\nissuer = "http://id.example"\nclient_id = "manta"\n')
    ended = manta("manager", "run", "--data-dir", manta.root / "x", "--listen", "127.0.0.1:0", "--config", config)
    assert ended.code == USAGE and "wrong.toml:2: the issuer's address begins with https://" in ended.err, ended.text
    assert not (manta.root / "x").exists(), "and nothing is half done"
    assert manta("login", environment={"MANTA_MANAGER": lab.cluster.url}).code == USAGE
    file = lab.cluster.data_dir / "token"
    assert manta("context", "add", "own", "--manager", lab.cluster.url, "--token-file", file).code == 0
    ended = manta("login", "--context", "own")
    assert ended.code == USAGE and "takes its token from a file" in ended.err, ended.text


def test_a_manager_without_an_issuer_says_so(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    assert manta("context", "add", "lab", "--manager", cluster.url).code == 0
    ended = manta("login", "--context", "lab")
    assert ended.code == NOT_FOUND and "knows no issuer of identities" in ended.err, ended.text


def test_a_client_with_a_secret_shows_it_to_the_issuer(lab, manta):
    secret = manta.work / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    lab.issuer.secret = "s3cret"
    lab.start('default_role = "viewer"\nclient_secret_file = "secret"')
    assert lab.sign_in().code == 0
    lab.issuer.secret = "another"
    refused = lab.sign_in()
    assert refused.code == DENIED and "the issuer refused: invalid_client" in refused.err, refused.text
    assert "s3cret" not in refused.text + lab.cluster.manager.text()
