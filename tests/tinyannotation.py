"""A language model for annotation tests: the tiny planner's, with tied embeddings or whole labels."""

import json
from pathlib import Path

import tinyplanner
import torch
from tokenizers import AddedToken
from transformers import AutoModel, AutoTokenizer

from raygen import seeds
from raygen.annotation.prompts import LABELS


def language(directory: Path, whole: bool = True) -> Path:
    """Write a byte-level causal LM with tied embeddings; ``whole`` makes each label one token."""
    tinyplanner.language(directory)
    model = AutoModel.from_pretrained(directory)
    if whole:
        tokenizer = AutoTokenizer.from_pretrained(directory)
        tokenizer.add_tokens([AddedToken(label, normalized=False) for label in LABELS])
        tokenizer.save_pretrained(directory)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        rows = seeds.stream(5, "tiny-labels").normal(size=(len(LABELS), tinyplanner.HIDDEN))
        model.embed_tokens.weight.data[-len(LABELS) :] = torch.from_numpy(rows * 0.2)
    model.save_pretrained(directory)
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    return directory
