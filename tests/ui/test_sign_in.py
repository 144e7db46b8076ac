"""Signing in to the Hub: offered on a Space that asks for it, its token taken for an upload and shown nowhere."""

import subprocess
import sys

from lowrank_core.ui import host
from lowrank_core.ui.host import login_offered

from .crowd import ROOT

SCRIPT = """
import time
from types import SimpleNamespace
import gradio as gr
import gradio.helpers, gradio.routes
from lowrank_core.ui import export_handlers, measure
from lowrank_core.ui.build import build
from lowrank_core.ui.host import PUBLIC
from lowrank_core.ui.house import House

assert not build().expects_oauth, "elsewhere there is none"
gradio.routes.attach_oauth = lambda app: None  # gradio's routes, whose libraries Spaces install
measure.login_offered = lambda: True
page = build(House(host=PUBLIC))
assert page.expects_oauth

pressed = next(f for f in page.fns.values() if f.name == "push")
names = [c.elem_id for c in pressed.inputs]

def asked(typed, session):
    "The token that the upload is asked with, and what the page is told."
    seen = []
    def push(house, recipe, session, storage, repository, token, public):
        seen.append(token)
        yield None, "Uploaded."
    export_handlers.push = push
    values = [getattr(c, "value", None) for c in pressed.inputs]
    values[names.index("hub-token")] = typed
    request = gr.Request(request=SimpleNamespace(scope={"session": session}), session_hash="a")
    given, *_ = gradio.helpers.special_args(pressed.fn, values, request)
    told = list(pressed.fn(*given))
    return told, seen

info = {"access_token": "hf_signed_in", "scope": "contribute-repos", "expires_at": time.time() + 60, "userinfo": {}}
for typed, session, expected in (
    ("", {"oauth_info": info}, "hf_signed_in"),
    ("hf_typed", {"oauth_info": info}, "hf_typed"),
    ("", {}, ""),
    ("", {"oauth_info": {**info, "expires_at": 1}}, ""),
):
    told, seen = asked(typed, session)
    assert seen == [expected] and told[0][0] == "Uploaded.", (seen, told)
assert "hf_signed_in" not in str(page.get_config_file())
print("signed in")
"""


def test_signing_in_stands_for_a_token():
    """On a Space the page offers the Hub's own sign-in; its token is taken where none is typed, and is not shown."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "signed in" in done.stdout, done.stdout + done.stderr


def test_sign_in_is_offered_only_on_a_space_that_asks_for_it(monkeypatch):
    monkeypatch.setattr(host.importlib.util, "find_spec", lambda name: name)
    assert not login_offered()
    monkeypatch.setenv("OAUTH_CLIENT_ID", "x")
    assert not login_offered()
    monkeypatch.setenv("SPACE_ID", "me/space")
    assert login_offered()
