"""Serve llama-cpp-python under the few HTTP paths of a llama-server that this client uses: a program.

    python -P providers/llama/worker.py SETTINGS      (one JSON object, see `main`)

The library is not thread-safe, and an assertion in it ends the process: so it has a process of its
own, and one thread that answers one request after the other. Options that a request leaves open are
a llama-server's, not those of the library's chat handlers. Nothing of this package is imported.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import socket
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any

# A llama-server's own; the library's handlers would take 0.2 and a penalty of 1.1.
DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "typical_p": 1.0,
    "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "seed": None, "stop": [], "max_tokens": None,
}  # fmt: skip
CONSTRAINTS = frozenset({"grammar", "json_schema", "response_format"})
# What llama.cpp takes for a model that brings no template.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATE = "tokenizer.chat_template"
TOO_LONG = (r"Requested tokens \((\d+)\) exceed context window of (\d+)", r"exceeds n_ctx: (\d+) > (\d+)")
PROBE = "a probe of the template"


class Refusal(Exception):
    """A request that will never be answered: a status of 400."""


class Gone(Exception):
    """Nobody waits for the answer any more."""


def main(settings: Mapping[str, Any]) -> None:
    """Serve `model` (and `mmproj`) at `port` until killed, with `ctx` tokens, `gpu_layers` and `threads`."""
    # It listens once the model is loaded: who looks before is refused, as by a server that is not up.
    Handler.model, Handler.key = Model(settings), os.environ.get("LLAMA_API_KEY", "")
    HTTPServer.request_queue_size = 128  # one thread: requests wait in the queue of the socket
    HTTPServer(("127.0.0.1", settings["port"]), Handler).serve_forever()


class Model:
    """The one owner of the library's objects."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._library = library = import_module("llama_cpp")
        self._eyes = eyes(settings["mmproj"]) if settings["mmproj"] else None
        self._llama = library.Llama(
            model_path=settings["model"],
            chat_handler=self._eyes,
            n_ctx=settings["ctx"],
            n_gpu_layers=-1 if settings["gpu_layers"] is None else settings["gpu_layers"],
            n_threads=settings["threads"],
            n_threads_batch=settings["threads"],
            kv_overrides=settings["overrides"],
            verbose=True,  # the log says how loading goes, and why it fails
        )
        if TEMPLATE not in self._llama.metadata:
            self._llama.metadata[TEMPLATE] = CHATML
            self._llama.chat_format = "chatml"
        if self._eyes:
            self._eyes._init_mtmd_context(self._llama)
            self._eyes.look_at(self._llama)
        self._llama.verbose = False
        self._gone: Callable[[], bool] = lambda: False
        complete = self._llama.create_completion

        def while_waited_for(*args: Any, stopping_criteria: Any = None, **options: Any) -> Any:
            """As the library's, where all chat handlers end, but it stops once nobody waits."""
            gone = [lambda _tokens, _scores: self._gone()]
            criteria = library.StoppingCriteriaList([*(stopping_criteria or ()), *gone])
            return complete(*args, stopping_criteria=criteria, **options)

        self._llama.create_completion = while_waited_for

    def answer(self, asked: dict[str, Any], gone: Callable[[], bool]) -> dict[str, Any]:
        """A chat completion. Raises `Refusal`, and `Gone` once `gone` says that nobody waits for it."""
        self._gone = gone
        asked.pop("model", None)
        messages = asked.pop("messages")
        grammar = self._grammar({name: asked.pop(name, None) for name in CONSTRAINTS})
        unknown = sorted(asked.keys() - DEFAULTS.keys())
        if unknown:
            raise Refusal(f"Unknown parameter: '{unknown[0]}'. llama-cpp-python takes no such option.")
        for name, value in asked.items():
            if isinstance(DEFAULTS[name], float | int) and not isinstance(value, float | int):
                raise Refusal(f"Field '{name}': it must be a number, but is {value!r:.60}")
        if not self._eyes:
            messages = [{**message, "content": flat(message["content"])} for message in messages]
        answer: dict[str, Any] = self._llama.create_chat_completion(
            messages=messages,
            grammar=grammar,
            # Left alone, the library would draw the same answers in every process.
            **{**DEFAULTS, "seed": secrets.randbits(31), **asked},
        )
        if gone():
            raise Gone
        usage = answer["usage"]
        if answer["choices"][0]["finish_reason"] == "stop":
            # The token that ended it was generated too, and is counted by a llama-server.
            usage["completion_tokens"] += 1
            usage["total_tokens"] += 1
        return answer

    def _grammar(self, constraints: Mapping[str, Any]) -> Any:
        form = constraints["response_format"] or {}
        schema = constraints["json_schema"] or form.get("json_schema", {}).get("schema") or form.get("schema")
        if form.get("type") == "json_object" and not schema:
            schema = {"type": "object"}
        if not constraints["grammar"] and not schema:
            return None
        library = self._library
        try:
            if constraints["grammar"]:
                grammar = library.LlamaGrammar.from_string(constraints["grammar"], verbose=False)
            else:
                grammar = library.LlamaGrammar.from_json_schema(json.dumps(schema), verbose=False)
            # The library would crash later on one that is none.
            sampler = library.llama_sampler_init_grammar(
                self._llama._model.vocab, grammar._grammar.encode(), grammar._root.encode()
            )
            if not sampler:
                raise Refusal("it is no grammar in llama.cpp's notation")
            library.llama_sampler_free(sampler)
        except Exception as error:
            raise Refusal(f"failed to parse grammar: {error}") from None
        return grammar


def flat(content: Any, marker: str = "") -> Any:
    """Content in parts as one text, as llama-server gives it to templates that know no parts."""
    if not isinstance(content, list):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else marker for part in content)


def eyes(projector: str) -> Any:
    """The library's handler for images of any family, for templates of any kind."""
    formats = import_module("llama_cpp.llama_chat_format")

    class Eyes(formats.MTMDChatHandler):  # type: ignore[name-defined, misc]
        takes_parts = True

        def look_at(self, llama: Any) -> None:
            """Find out whether the model's template takes content in parts."""
            from jinja2.sandbox import ImmutableSandboxedEnvironment

            template = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
            try:
                text = template.from_string(llama.metadata[TEMPLATE]).render(
                    messages=[{"role": "user", "content": [{"type": "text", "text": PROBE}]}],
                    add_generation_prompt=True,
                )
            except Exception:
                text = ""
            self.takes_parts = PROBE in text and "'type'" not in text

        def _get_template_messages(self, messages: Any, media_marker: str) -> Any:
            if self.takes_parts:
                return super()._get_template_messages(messages, media_marker)
            return [{**message, "content": flat(message["content"], media_marker)} for message in messages]

    return Eyes(clip_model_path=projector, verbose=True)


class Handler(BaseHTTPRequestHandler):
    """A llama-server's paths and error bodies."""

    model: Model
    key: str
    timeout = 60  # seconds: who connects and says nothing holds up all others

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(200, {"status": "ok"})
        elif self.path == "/props" and self.allowed():
            self.reply(200, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.allowed():
            return
        try:
            self.reply(200, self.model.answer(json.loads(body), self.gone))
        except Gone:
            pass
        except (Refusal, ValueError, TypeError, KeyError) as error:
            reason = str(error)
            match = next(filter(None, (re.search(pattern, reason) for pattern in TOO_LONG)), None)
            if match:
                sizes = {"n_prompt_tokens": int(match[1]), "n_ctx": int(match[2])}
                self.fail(400, "exceed_context_size_error", reason, **sizes)
            else:
                self.fail(400, "invalid_request_error", reason)
        except Exception as error:
            self.fail(500, "server_error", f"{type(error).__name__}: {error}")

    def allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.key}":
            return True
        self.fail(401, "authentication_error", "Invalid API Key")
        return False

    def gone(self) -> bool:
        """Whether the client has closed its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def fail(self, status: int, kind: str, message: str, **more: Any) -> None:
        self.reply(status, {"error": {"code": status, "type": kind, "message": message, **more}})

    def reply(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: the log is for what the engine says."""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
