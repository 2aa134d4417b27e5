"""A plain service as people write one around `transformers`: one request, one image, one pass."""

import base64
import io
import sys

import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained(sys.argv[1]).eval()
processor = AutoImageProcessor.from_pretrained(sys.argv[1])
app = FastAPI()


class Picture(BaseModel):
    """An image in base64."""

    image: str


@app.get("/health")
def health() -> dict:
    return {"status": "ok"}


@app.post("/embed")
def embed(picture: Picture) -> dict:
    image = Image.open(io.BytesIO(base64.b64decode(picture.image))).convert("RGB")
    inputs = processor(images=image, return_tensors="pt")
    with torch.inference_mode():
        features = model.get_image_features(**inputs)
    vector = getattr(features, "pooler_output", features)
    return {"embedding": torch.nn.functional.normalize(vector, dim=-1)[0].tolist()}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
