"""Clients that need an environment of their own: `openai` for Node.js, `instructor`, LiteLLM, vLLM.

The Python ones pin older versions of what this project uses: SIGLIP2_CLIENTS_PYTHON names the interpreter of
an environment that has them (`pip install instructor litellm`, `pip install --no-deps vllm`), NODE_PATH the
`node_modules` with `openai`.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.serve.conftest import data_url, png

PYTHON = os.environ.get("SIGLIP2_CLIENTS_PYTHON", sys.executable)


def environment(server):
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**kept, "URL": server.url, "KEY": server.key, "PICTURE": data_url(1)}


def run(command, server):
    done = subprocess.run(command, env=environment(server), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def run_python(package, script, server):
    probe = f"import importlib.util as found; raise SystemExit(not found.find_spec({package!r}))"
    if subprocess.run([PYTHON, "-c", probe]).returncode:
        pytest.skip(f"needs {package} in the environment of SIGLIP2_CLIENTS_PYTHON: pip install {package}")
    return run([PYTHON, "-W", "ignore", "-c", script], server)


NODE = """
const OpenAI = require("openai");
const { URL: url, KEY: apiKey, PICTURE: picture } = process.env;
const client = new OpenAI({ baseURL: url + "/v1", apiKey, maxRetries: 0 });
const content = [{ type: "image_url", image_url: { url: picture } }];
const messages = [{ role: "user", content }];
const properties = { kind: { type: "string", enum: ["cat", "dog"] } };
const schema = { type: "object", properties, required: ["kind"], additionalProperties: false };
const response_format = { type: "json_schema", json_schema: { name: "kind", schema, strict: true } };
(async () => {
  const texts = await client.embeddings.create({ model: "tiny", input: ["a cat"] });
  const images = await client.embeddings.create({ model: "tiny", input: [picture] });
  const as_floats = { model: "tiny", input: ["a cat"], encoding_format: "float" };
  const floats = await client.embeddings.create(as_floats);
  const asked = { model: "tiny", messages, response_format };
  const chat = await client.chat.completions.create(asked);
  let streamed = "";
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }))
    streamed += chunk.choices[0]?.delta?.content ?? "";
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const caught = await client.embeddings.create({ model: "gpt-4", input: "x" }).catch((error) => error);
  console.log(JSON.stringify({ text: texts.data[0].embedding, image: images.data[0].embedding,
    float: floats.data[0].embedding, chat: chat.choices[0].message.content, streamed, models,
    code: caught.code, name: caught.constructor.name, request: caught.requestID }));
})();
"""


def test_openai_for_node(server, encoder, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    if subprocess.run([node, "-e", 'require.resolve("openai")'], capture_output=True).returncode:
        pytest.skip("needs the npm package openai: npm install openai, and NODE_PATH naming its node_modules")
    script = tmp_path / "client.cjs"
    script.write_text(NODE)
    said = run([node, str(script)], server)
    np.testing.assert_allclose(said["text"], encoder.embed_texts(["a cat"])[0], atol=1e-5)
    np.testing.assert_allclose(said["float"], said["text"], atol=1e-6)
    np.testing.assert_allclose(said["image"], encoder.embed_images([png(1)])[0], atol=1e-5)
    assert json.loads(said["chat"])["kind"] in ("cat", "dog")
    assert said["streamed"] == said["chat"]
    assert "tiny" in said["models"]
    assert (said["code"], said["name"]) == ("model_not_found", "NotFoundError")
    assert said["request"]


INSTRUCTOR = """
import json, os
from enum import Enum
import instructor
from openai import OpenAI
from pydantic import BaseModel, Field
class Kind(str, Enum):
    CAT = "cat"
    DOG = "dog"
class Seen(BaseModel):
    kind: Kind
    tags: list[Kind]
    indoors: bool = Field(description="a photo taken indoors")
client = OpenAI(base_url=os.environ["URL"] + "/v1", api_key=os.environ["KEY"], max_retries=0)
content = [{"type": "image_url", "image_url": {"url": os.environ["PICTURE"]}}]
said = {}
for mode in ("TOOLS", "JSON_SCHEMA"):
    wrapped = instructor.from_openai(client, mode=instructor.Mode[mode])
    seen = wrapped.chat.completions.create(model="tiny", response_model=Seen, max_retries=0,
                                           messages=[{"role": "user", "content": content}])
    said[mode] = seen.model_dump(mode="json")
print(json.dumps(said))
"""


def test_instructor(server):
    said = run_python("instructor", INSTRUCTOR, server)
    assert said["TOOLS"] == said["JSON_SCHEMA"]
    assert said["TOOLS"]["kind"] in ("cat", "dog")
    assert isinstance(said["TOOLS"]["indoors"], bool)


LITELLM = """
import json, os
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
litellm.telemetry = False
where = {"api_base": os.environ["URL"] + "/v1", "api_key": os.environ["KEY"], "num_retries": 0}
content = [{"type": "image_url", "image_url": {"url": os.environ["PICTURE"]}}]
properties = {"kind": {"type": "string", "enum": ["cat", "dog"]}}
schema = {"type": "object", "properties": properties, "required": ["kind"]}
form = {"type": "json_schema", "json_schema": {"name": "kind", "schema": schema}}
embedded = litellm.embedding(model="openai/tiny", input=["a cat"], **where)
chat = litellm.completion(
    model="openai/tiny", messages=[{"role": "user", "content": content}], response_format=form, **where
)
ranked = litellm.rerank(model="cohere/tiny", query="a cat", documents=["a dog", "a cat"], top_n=1,
                        api_base=os.environ["URL"], api_key=os.environ["KEY"])
try:
    litellm.embedding(model="openai/none", input=["x"], **where)
    refused = None
except litellm.NotFoundError:
    refused = "NotFoundError"
print(json.dumps({"text": embedded.data[0]["embedding"], "chat": chat.choices[0].message.content,
                  "best": ranked.results[0]["index"], "refused": refused}))
"""


def test_litellm(server, encoder):
    said = run_python("litellm", LITELLM, server)
    np.testing.assert_allclose(said["text"], encoder.embed_texts(["a cat"])[0], atol=1e-5)
    assert json.loads(said["chat"])["kind"] in ("cat", "dog")
    assert said["best"] == 1
    assert said["refused"] == "NotFoundError"


VLLM = """
import asyncio, importlib.util, json, os, sys
from pathlib import Path
import aiohttp
# The file alone: the package would want torch and a GPU.
(folder,) = importlib.util.find_spec("vllm").submodule_search_locations
path = Path(folder) / "benchmarks" / "lib" / "endpoint_request_func.py"
spec = importlib.util.spec_from_file_location("endpoint_request_func", path)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
os.environ["OPENAI_API_KEY"] = os.environ["KEY"]
image = {"type": "image_url", "image_url": {"url": os.environ["PICTURE"]}}
asked = [("openai-embeddings-clip", "embeddings", "", image),
         ("openai-embeddings-clip", "embeddings", "a cat", None),
         ("openai-embeddings", "embeddings", ["a cat", "a dog"], None),
         ("infinity-embeddings-clip", "embeddings", "", image),
         ("infinity-embeddings", "embeddings", "a cat", None),
         ("vllm-rerank", "rerank", ["a cat", "a dog", "a cat"], None)]
async def main():
    said = []
    async with aiohttp.ClientSession() as session:
        for backend, route, prompt, picture in asked:
            given = module.RequestFuncInput(
                prompt=prompt, api_url=os.environ["URL"] + "/v1/" + route, prompt_len=1, output_len=1,
                model="tiny", multi_modal_content=picture, request_id="bench-0")
            got = await module.ASYNC_REQUEST_FUNCS[backend](given, session)
            said.append([backend, got.success, got.error, got.prompt_len])
    print(json.dumps(said))
asyncio.run(main())
"""


def test_load_generator_of_vllm(server):
    """What `vllm bench serve --backend ...` runs, of vLLM itself (`pip install --no-deps vllm`)."""
    said = run_python("vllm", VLLM, server)
    assert [(error, tokens) for _, _, error, tokens in said] == [
        ("", 16), ("", 6), ("", 12), ("", 16), ("", 6), ("", 18)
    ]  # fmt: skip
    assert all(success for _, success, _, _ in said)
