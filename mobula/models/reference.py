"""The independent reference of the model tests: Hugging Face transformers.

reference.py make DIR SEED    writes small random checkpoints of every family below DIR, one folder a case, and
                              CASE.expected.safetensors: ids, logits, loss, greedy continuation, grad.NAME;
                              padded.ids, padded.mask, padded.logits of a batch padded on the left;
                              sure, true where rounding can't have sent a token to another expert;
                              rounding, padded.rounding: how far single precision alone moves the logits,
                              grad_rounding: the gradients, relative to each one's largest number
reference.py make-long DIR SEED   the same with texts of hundreds of tokens: ids, logits, sure and rounding only
reference.py check DIR...     loads folders that Mobula wrote, each with ours.safetensors (ids, logits, greedy) in it,
                              and fails where transformers computes something else
reference.py make-encoders DIR SEED, check-encoders DIR...   the same for encoders, make-others and check-others for T5 and ViT
"""
import copy, inspect, os, random, sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.utils.logging.disable_progress_bar()
TOLERANCE = 1e-4


def gpt2(rng, **more):
    heads = rng.choice([1, 3, 5])
    return transformers.GPT2Config(**{**dict(vocab_size=rng.randrange(17, 99), n_positions=rng.randrange(24, 40), n_embd=heads * rng.choice([2, 6, 10]),
                                             n_layer=rng.choice([1, 3]), n_head=heads, bos_token_id=0, eos_token_id=None), **more})


def llama_like(config, rng, **more):
    """Sizes that Llama's descendants share: grouped heads, a head width that is not hidden / heads, odd everything else."""
    kv_heads, heads_each, head_dim = rng.choice([1, 2, 3]), rng.choice([1, 2, 3]), rng.choice([4, 6, 10])
    sizes = dict(vocab_size=rng.randrange(17, 99), hidden_size=kv_heads * heads_each * rng.choice([3, 5]), intermediate_size=rng.randrange(11, 40),
                 num_hidden_layers=rng.choice([2, 3]), num_attention_heads=kv_heads * heads_each, num_key_value_heads=kv_heads, head_dim=head_dim,
                 max_position_embeddings=rng.randrange(40, 80), rms_norm_eps=rng.choice([1e-6, 1e-5, 1e-3]), bos_token_id=0, eos_token_id=None, pad_token_id=None)
    sizes.update(more)
    if sizes["head_dim"] is None:  # a family without the key
        del sizes["head_dim"]
    return config(**sizes)


def llama(rng, **more):
    return llama_like(transformers.LlamaConfig, rng, **more)


def longrope(rng):
    head_dim = 12
    return llama(rng, head_dim=head_dim, max_position_embeddings=64,
                 rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": rng.choice([7, 30]),
                                  "short_factor": [1 + rng.random() for _ in range(head_dim // 2)], "long_factor": [2 + 3 * rng.random() for _ in range(head_dim // 2)]})


def moe(config, rng, **more):
    experts = rng.choice([3, 5])
    return llama_like(config, rng, num_experts=experts, num_experts_per_tok=rng.randrange(1, experts + 1), moe_intermediate_size=rng.randrange(3, 9), **more)


def mixtral(rng, **more):
    experts = rng.choice([3, 5])
    return llama_like(transformers.MixtralConfig, rng, num_local_experts=experts, num_experts_per_tok=rng.randrange(1, experts + 1), **more)


def gptj(rng, **more):
    heads, head_dim = rng.choice([1, 3]), rng.choice([6, 10])
    return transformers.GPTJConfig(**{**dict(vocab_size=rng.randrange(17, 99), n_positions=rng.randrange(24, 40), n_embd=heads * head_dim, n_layer=rng.choice([1, 3]),
                                             n_head=heads, rotary_dim=rng.choice([2, 4, 6]), bos_token_id=0, eos_token_id=None), **more})


def neox(rng, **more):
    heads, head_dim = rng.choice([1, 3]), rng.choice([8, 16])
    return transformers.GPTNeoXConfig(**{**dict(vocab_size=rng.randrange(17, 99), hidden_size=heads * head_dim, intermediate_size=rng.randrange(11, 40), num_hidden_layers=rng.choice([1, 3]),
                                                num_attention_heads=heads, max_position_embeddings=40, bos_token_id=0, eos_token_id=None), **more})


def opt(rng, **more):
    heads, head_dim = rng.choice([1, 3]), rng.choice([6, 10])
    return transformers.OPTConfig(**{**dict(vocab_size=rng.randrange(17, 99), hidden_size=heads * head_dim, ffn_dim=rng.randrange(11, 40), num_hidden_layers=rng.choice([1, 3]),
                                            num_attention_heads=heads, max_position_embeddings=40, bos_token_id=0, eos_token_id=None, pad_token_id=None, dropout=0.0), **more})


def bloom(rng, **more):
    heads, head_dim = rng.choice([1, 3, 4, 6]), rng.choice([6, 10])
    return transformers.BloomConfig(**{**dict(vocab_size=rng.randrange(17, 99), hidden_size=heads * head_dim, n_layer=rng.choice([1, 3]), n_head=heads, bos_token_id=0,
                                              eos_token_id=None), **more})


def gemma(config, rng, **more):
    return llama_like(config, rng, **{**dict(num_hidden_layers=3, query_pre_attn_scalar=rng.choice([5, 13]), sliding_window=rng.randrange(2, 8)), **more})


CASES = {
    "gpt2": gpt2,
    "gpt2-variant": lambda rng: gpt2(rng, n_inner=rng.randrange(11, 30), activation_function=rng.choice(["gelu", "relu", "silu"]),
                                     scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False, layer_norm_epsilon=1e-3),
    "llama": llama,
    "llama-biases-tied": lambda rng: llama(rng, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, hidden_act="gelu"),
    "llama-linear": lambda rng: llama(rng, rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}),
    "llama-dynamic": lambda rng: llama(rng, max_position_embeddings=8, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}),
    "llama-llama3": lambda rng: llama(rng, rope_parameters={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                           "original_max_position_embeddings": 20, "rope_theta": 100.0}),
    "llama-yarn": lambda rng: llama(rng, rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24, "rope_theta": 300.0}),
    "llama-yarn-mscale": lambda rng: llama(rng, head_dim=16, rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 30,
                                           "rope_theta": 10000.0, "beta_fast": 8, "beta_slow": 2, "mscale": 0.7, "mscale_all_dim": 1.1, "truncate": False}),
    "llama-longrope": longrope,
    "mistral": lambda rng: llama_like(transformers.MistralConfig, rng, sliding_window=rng.randrange(2, 8)),
    "mistral-no-window": lambda rng: llama_like(transformers.MistralConfig, rng, sliding_window=None),
    "qwen2": lambda rng: llama_like(transformers.Qwen2Config, rng),
    "qwen2-windows": lambda rng: llama_like(transformers.Qwen2Config, rng, num_hidden_layers=3, use_sliding_window=True, sliding_window=3, max_window_layers=1),
    "qwen3": lambda rng: llama_like(transformers.Qwen3Config, rng),
    "qwen3-variant": lambda rng: llama_like(transformers.Qwen3Config, rng, attention_bias=True, tie_word_embeddings=True, use_sliding_window=True, sliding_window=4, max_window_layers=0),
    "phi3": lambda rng: llama_like(transformers.Phi3Config, rng, head_dim=None, num_attention_heads=2, num_key_value_heads=1, hidden_size=20, sliding_window=None),
    "phi3-variant": lambda rng: llama_like(transformers.Phi3Config, rng, head_dim=None, num_attention_heads=3, num_key_value_heads=3, hidden_size=24, sliding_window=4,
                                           tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}),
    "phi3-longrope": lambda rng: llama_like(transformers.Phi3Config, rng, head_dim=None, num_attention_heads=2, num_key_value_heads=2, hidden_size=16, original_max_position_embeddings=7,
                                            rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.5, 2.0, 2.5, 4.0]}),
    "gemma2": lambda rng: gemma(transformers.Gemma2Config, rng, attn_logit_softcapping=rng.choice([1.5, 4.0]), final_logit_softcapping=rng.choice([2.0, 5.0])),
    "gemma2-variant": lambda rng: gemma(transformers.Gemma2Config, rng, attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True, tie_word_embeddings=False),
    "gemma3_text": lambda rng: gemma(transformers.Gemma3TextConfig, rng, sliding_window_pattern=2),
    "gemma3_text-variant": lambda rng: gemma(transformers.Gemma3TextConfig, rng, layer_types=["full_attention", "sliding_attention", "full_attention"],
                                             rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 300.0},
                                                              "sliding_attention": {"rope_type": "default", "rope_theta": 77.0}}),
    "gptj": gptj,
    "gptj-variant": lambda rng: gptj(rng, n_inner=rng.randrange(11, 30), activation_function="relu", tie_word_embeddings=True),
    "gpt_neox": neox,
    "gpt_neox-variant": lambda rng: neox(rng, use_parallel_residual=False, attention_bias=False, hidden_act="relu", tie_word_embeddings=True,
                                         rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 900.0, "partial_rotary_factor": 0.5}),
    "opt": opt,
    "opt-350m": lambda rng: opt(rng, do_layer_norm_before=False, word_embed_proj_dim=7, hidden_size=18, num_attention_heads=3),
    "opt-wide-embeddings": lambda rng: opt(rng, word_embed_proj_dim=23, hidden_size=18, num_attention_heads=3, tie_word_embeddings=False),
    "opt-no-final-norm": lambda rng: opt(rng, _remove_final_layer_norm=True),
    "opt-wide-heads": lambda rng: opt(rng, hidden_size=520, num_attention_heads=1, num_hidden_layers=1),  # wider than kernels take
    "opt-variant": lambda rng: opt(rng, enable_bias=False, layer_norm_elementwise_affine=False, activation_function="gelu", tie_word_embeddings=False),
    "bloom": bloom,
    "bloom-variant": lambda rng: bloom(rng, apply_residual_connection_post_layernorm=True, tie_word_embeddings=False),
    "mixtral": mixtral,
    "mixtral-window": lambda rng: mixtral(rng, sliding_window=4, tie_word_embeddings=True),
    "mixtral-stacked": mixtral,
    "qwen2_moe": lambda rng: moe(transformers.Qwen2MoeConfig, rng, shared_expert_intermediate_size=rng.randrange(3, 9)),
    "qwen2_moe-variant": lambda rng: moe(transformers.Qwen2MoeConfig, rng, shared_expert_intermediate_size=5, qkv_bias=False, norm_topk_prob=True, num_hidden_layers=3,
                                         decoder_sparse_step=2, use_sliding_window=True, sliding_window=3, max_window_layers=2),
    "qwen3_moe": lambda rng: moe(transformers.Qwen3MoeConfig, rng, norm_topk_prob=True),
    "qwen3_moe-variant": lambda rng: moe(transformers.Qwen3MoeConfig, rng, num_hidden_layers=3, mlp_only_layers=[1], use_sliding_window=True, sliding_window=3),
    "qwen3_moe-stacked": lambda rng: moe(transformers.Qwen3MoeConfig, rng),
}


def bert_like(config, rng, **more):
    heads = rng.choice([1, 3])
    return config(**{**dict(vocab_size=rng.randrange(17, 99), hidden_size=heads * rng.choice([6, 10]), intermediate_size=rng.randrange(11, 40), num_hidden_layers=rng.choice([1, 3]),
                            num_attention_heads=heads, max_position_embeddings=40, type_vocab_size=rng.choice([1, 2]), layer_norm_eps=rng.choice([1e-12, 1e-3])), **more})


def encoder_cases():
    bert, roberta = transformers.BertConfig, transformers.RobertaConfig
    for family, config in (("Bert", bert), ("Roberta", roberta)):
        yield f"{family}Model", lambda rng, c=config: bert_like(c, rng)
        yield f"{family}ForMaskedLM", lambda rng, c=config: bert_like(c, rng, hidden_act="relu")
        yield f"{family}ForSequenceClassification", lambda rng, c=config: bert_like(c, rng, num_labels=3)
        yield f"{family}ForTokenClassification", lambda rng, c=config: bert_like(c, rng, num_labels=5)


def make_encoders(directory, seed):
    """Cases of padded batches: ids, mask, logits, targets, loss, grad.NAME."""
    for index, (name, config) in enumerate(encoder_cases()):
        rng = random.Random(f"{seed} {name}")
        model = getattr(transformers, name)(config(rng)).eval()
        model.set_attn_implementation("eager")
        randomize(model, seed + index)
        model.save_pretrained(os.path.join(directory, name))
        batch, pad = rng.randrange(2, 4), model.config.pad_token_id
        context = model.config.max_position_embeddings - (pad + 1 if name.startswith("Roberta") else 0)
        length = rng.choice([rng.randrange(9, 21), context])
        ids = torch.tensor([[rng.randrange(2, model.config.vocab_size) for _ in range(length)] for _ in range(batch)])
        mask, left_ids, left_mask = torch.ones_like(ids, dtype=torch.bool), ids.clone(), torch.ones_like(ids, dtype=torch.bool)
        for row in range(1, batch):
            end = rng.randrange(3, length)
            ids[row, end:], mask[row, end:] = pad, False
            left_ids[row, :length - end], left_mask[row, :length - end] = pad, False

        def run(ids=ids, mask=mask):
            output = model(input_ids=ids, attention_mask=mask.long())
            return output.last_hidden_state if name.endswith("Model") else output.logits

        logits = run()
        real = mask if logits.dim() == 3 else slice(None)
        left_real = left_mask if logits.dim() == 3 else slice(None)
        out = {"ids": ids, "mask": mask, "logits": logits.detach(), "left.ids": left_ids, "left.mask": left_mask}
        if not name.endswith("Model"):
            shape = (batch,) if "Sequence" in name else (batch, length)
            targets = torch.tensor([rng.randrange(logits.shape[-1]) for _ in range(batch * (1 if "Sequence" in name else length))]).reshape(shape)
            if targets.dim() == 2:
                targets[~mask] = -100
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
            loss.backward()
            out.update(targets=targets, loss=loss.detach())
            for parameter, tensor in model.named_parameters():
                if tensor.grad is not None:
                    out["grad." + parameter] = tensor.grad.clone()
            out["grad_rounding"] = gradients_moved_by_rounding(model, lambda: torch.nn.functional.cross_entropy(run().flatten(0, -2), targets.flatten()))
        with torch.no_grad():
            out["left.logits"] = run(left_ids, left_mask)
            moved = moved_by_rounding(model, lambda: [run()[real], run(left_ids, left_mask)[left_real]])
        out["rounding"], out["left.rounding"] = torch.tensor(moved[0]), torch.tensor(moved[1])
        out["bf16_error"] = bf16_error(model, lambda: [run()[real]])
        save_file({k: v.contiguous().clone() for k, v in out.items()}, os.path.join(directory, name + ".expected.safetensors"))


def check_encoders(directories):
    for directory in directories:
        name = os.path.basename(directory).split("-")[0]
        model, report = getattr(transformers, name).from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
        assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), (directory, report)
        ours = load_file(os.path.join(directory, "ours.safetensors"))
        with torch.no_grad():
            output = model(input_ids=ours["ids"], attention_mask=ours["mask"].long())
        logits = output.last_hidden_state if name.endswith("Model") else output.logits
        real = ours["mask"] if logits.dim() == 3 else slice(None)
        difference = (logits - ours["logits"])[real].abs().max().item()
        assert difference <= TOLERANCE, f"{directory}: outputs differ by {difference}"
        print(f"{directory}: transformers agrees within {difference:.2g}")


def other_cases():
    t5 = dict(d_kv=5, d_ff=11, num_layers=2, num_heads=3, relative_attention_num_buckets=8, relative_attention_max_distance=12, dropout_rate=0.0, decoder_start_token_id=0)
    yield "t5", "T5ForConditionalGeneration", lambda rng: transformers.T5Config(vocab_size=rng.randrange(17, 99), d_model=rng.choice([7, 12]), **t5)
    yield "t5-gated", "T5ForConditionalGeneration", lambda rng: transformers.T5Config(
        vocab_size=rng.randrange(17, 99), d_model=9, feed_forward_proj="gated-gelu", num_decoder_layers=3, **{**t5, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128})
    vit = dict(num_hidden_layers=2, num_attention_heads=3, hidden_size=18, intermediate_size=13)
    yield "ViTForImageClassification", "ViTForImageClassification", lambda rng: transformers.ViTConfig(image_size=12, patch_size=4, num_labels=5, **vit)
    yield "ViTForImageClassification-variant", "ViTForImageClassification", lambda rng: transformers.ViTConfig(
        image_size=[8, 15], patch_size=[4, 5], num_channels=1, qkv_bias=False, hidden_act="relu", layer_norm_eps=1e-3, **vit)
    yield "ViTModel", "ViTModel", lambda rng: transformers.ViTConfig(image_size=9, patch_size=3, pooler_output_size=7, **vit)


STORED_VIT_NAMES = [("layers.", "encoder.layer."), ("attention.q_proj.", "attention.attention.query."), ("attention.k_proj.", "attention.attention.key."),
                    ("attention.v_proj.", "attention.attention.value."), ("attention.o_proj.", "attention.output.dense."), ("mlp.fc1.", "intermediate.dense."),
                    ("mlp.fc2.", "output.dense.")]


def make_others(directory, seed):
    for index, (name, kind, config) in enumerate(other_cases()):
        rng = random.Random(f"{seed} {name}")
        model = getattr(transformers, kind)(config(rng)).eval()
        model.set_attn_implementation("eager")
        randomize(model, seed + index)
        model.save_pretrained(os.path.join(directory, name))
        batch = rng.randrange(1, 4)
        if kind.startswith("T5"):
            vocabulary, length, target_length = model.config.vocab_size, rng.choice([rng.randrange(9, 31), 300]), rng.choice([rng.randrange(3, 15), 150])
            draw = lambda *shape: torch.randint(2, vocabulary, shape, generator=torch.Generator().manual_seed(rng.randrange(1000000)))
            inputs = {"ids": draw(batch, length), "mask": torch.ones(batch, length, dtype=torch.bool), "decoder_ids": draw(batch, target_length)}
            for row in range(1, batch):
                end = rng.randrange(3, length)
                inputs["ids"][row, end:], inputs["mask"][row, end:] = 0, False
            run = lambda m: m(input_ids=inputs["ids"], attention_mask=inputs["mask"].long(), decoder_input_ids=inputs["decoder_ids"]).logits
            targets = draw(batch, target_length)
            loss_of = lambda: model(input_ids=inputs["ids"], attention_mask=inputs["mask"].long(), labels=targets).loss
            loss = loss_of()
        else:
            sizes = model.vit.embeddings.image_size if kind != "ViTModel" else model.embeddings.image_size
            inputs = {"pixels": torch.randn(batch, model.config.num_channels, *sizes, generator=torch.Generator().manual_seed(seed))}
            run = lambda m: getattr(m(pixel_values=inputs["pixels"].to(next(m.parameters()).dtype)), "last_hidden_state" if kind == "ViTModel" else "logits")
            targets = torch.tensor([rng.randrange(2) for _ in range(batch)])
            loss_of = lambda: model(pixel_values=inputs["pixels"], labels=targets).loss
            loss = None if kind == "ViTModel" else loss_of()
        with torch.no_grad():
            logits = run(model)
        out = {**inputs, "logits": logits, "targets": targets}
        if loss is not None:
            loss.backward()
            out["loss"] = loss.detach()
            for parameter, tensor in model.named_parameters():
                if kind.startswith("ViT"):
                    for now, stored in STORED_VIT_NAMES:
                        parameter = parameter.replace(now, stored)
                if tensor.grad is not None:
                    out["grad." + parameter] = tensor.grad.clone()
            out["grad_rounding"] = gradients_moved_by_rounding(model, loss_of)
        if kind.startswith("T5"):
            out.update(steps_of_t5(model, inputs))
            out.update(left_padded_t5(model, rng, length))
        with torch.no_grad():
            out["rounding"] = torch.tensor(max(moved_by_rounding(model, lambda: [run(model)])))
        out["bf16_error"] = bf16_error(model, lambda: [run(model)])
        save_file({k: v.contiguous().clone() for k, v in out.items()}, os.path.join(directory, name + ".expected.safetensors"))


def steps_of_t5(model, inputs):
    """The decoder's scores of one token a step with transformers' cache, and its greedy text."""
    mask, past, steps = inputs["mask"].long(), None, []
    with torch.no_grad():
        encoded = model.encoder(input_ids=inputs["ids"], attention_mask=mask)
        for ids in inputs["decoder_ids"].split(1, dim=1):
            output = model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=ids, past_key_values=past, use_cache=True)
            past = output.past_key_values
            steps.append(output.logits)
        ids, chosen = torch.full((mask.shape[0], 1), model.config.decoder_start_token_id), []
        for _ in range(7):
            scores = model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=ids).logits[:, -1].log_softmax(-1)
            chosen.append(scores.max(-1).values)
            ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], 1)
    return {"steps": torch.cat(steps, 1), "greedy": ids[:, 1:], "greedy.logprobs": torch.stack(chosen, 1)}


def left_padded_t5(model, rng, length):
    """A batch whose others begin later in the encoder, as pipelines pad for decoders."""
    ids = torch.tensor([[rng.randrange(2, model.config.vocab_size) for _ in range(length)] for _ in range(3)])
    mask = torch.ones_like(ids)
    for row in (1, 2):
        begin = rng.randrange(1, length - 2)
        ids[row, :begin], mask[row, :begin] = 0, 0
    decoder_ids = torch.tensor([[0, rng.randrange(2, model.config.vocab_size), rng.randrange(2, model.config.vocab_size)]] * 3)
    run = lambda: [model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids).logits]
    with torch.no_grad():
        return {"left.ids": ids, "left.mask": mask.bool(), "left.decoder_ids": decoder_ids, "left.logits": run()[0],
                "left.rounding": torch.tensor(max(moved_by_rounding(model, run)))}


def check_others(directories):
    kinds = {name: kind for name, kind, _ in other_cases()}
    for directory in directories:
        kind = kinds[os.path.basename(directory).removesuffix("-ours")]
        model, report = getattr(transformers, kind).from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
        assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), (directory, report)
        ours = load_file(os.path.join(directory, "ours.safetensors"))
        with torch.no_grad():
            output = model(input_ids=ours["ids"], decoder_input_ids=ours["decoder_ids"]) if "ids" in ours else model(pixel_values=ours["pixels"])
        logits = output.last_hidden_state if kind == "ViTModel" else output.logits
        difference = (logits - ours["logits"]).abs().max().item()
        assert difference <= TOLERANCE, f"{directory}: outputs differ by {difference}"
        print(f"{directory}: transformers agrees within {difference:.2g}")


def stored_tensors(family, name, tensor):
    """Gives a parameter's tensor under the name, or split under the names, that checkpoints have."""
    if family == "gpt_neox" and name == "lm_head.weight":
        name = "embed_out.weight"
    if family == "mixtral":
        name = name.replace(".mlp.", ".block_sparse_moe.")
    gate, up, down = ("w1", "w3", "w2") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    if name.endswith("experts.gate_up_proj"):
        for i, expert in enumerate(tensor):
            first, second = expert.chunk(2)
            yield name.replace("gate_up_proj", f"{i}.{gate}.weight"), first
            yield name.replace("gate_up_proj", f"{i}.{up}.weight"), second
    elif name.endswith("experts.down_proj"):
        for i, expert in enumerate(tensor):
            yield name.replace("experts.down_proj", f"experts.{i}.{down}.weight"), expert
    else:
        yield name, tensor


def randomize(model, seed):
    """Draws every parameter, biases and norms too: what starts at 0 or 1 would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Sums over many channels stay as large as those over few: a sharper softmax would tell of rounding alone.
            p.copy_(torch.randn(p.shape, generator=generator) * (0.1 if p.dim() < 2 else 0.15 if p.shape[-1] < 256 else 0.03))
            if p.dim() == 1 and name.endswith("weight"):
                p.add_(1.0)


def greedy(model, prompt, count):
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt):]


def padded_on_the_left(model, rng, length):
    """A batch whose first text fills all columns and whose others begin later."""
    ids = torch.tensor([[rng.randrange(model.config.vocab_size) for _ in range(length)] for _ in range(3)])
    mask = torch.ones_like(ids)
    for row in (1, 2):
        mask[row, :rng.randrange(1, length - 2)] = 0
    more = {}
    if "position_ids" in inspect.signature(model.forward).parameters:
        more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(ids, attention_mask=mask, **more).logits
    return {"padded.ids": ids, "padded.mask": mask.bool(), "padded.logits": logits, "padded.position_ids": more.get("position_ids", torch.zeros(0))}


def moved_by_rounding(model, run, step=2.0 ** -23, draws=2):
    """How far run()'s tensors move, at most, where every parameter is rounded otherwise (step: what a type's last digit is
    worth): a model of few channels behind norms or a sharp softmax makes more of it than others, and more than that nobody can
    ask for."""
    exact = [tensor.clone() for tensor in run()]
    parameters = [p for p in model.parameters()]
    kept = [p.detach().clone() for p in parameters]
    furthest = [0.0] * len(exact)
    for draw in range(draws):
        generator = torch.Generator().manual_seed(draw)
        with torch.no_grad():
            for p, value in zip(parameters, kept):
                p.copy_(value * (1 + step * (2 * torch.rand(value.shape, generator=generator) - 1)))
        for i, (tensor, other) in enumerate(zip(run(), exact)):
            furthest[i] = max(furthest[i], (tensor - other).abs().max().item())
    with torch.no_grad():
        for p, value in zip(parameters, kept):
            p.copy_(value)
    return furthest


def gradients_moved_by_rounding(model, loss):
    """The same for the gradients of loss(), relative to each one's largest number."""
    def gradients():
        model.zero_grad()
        loss().backward()
        return [p.grad / p.grad.abs().max().clamp(min=1e-3) for p in model.parameters() if p.grad is not None]

    return torch.tensor(max(moved_by_rounding(model, gradients)))


def bf16_error(model, run):
    """How far run()'s tensors are off where parameters and computation are bfloat16, or only the parameters. The model stays so."""
    with torch.no_grad():
        exact = [tensor.clone() for tensor in run()]
        moved = max(moved_by_rounding(model, run, 2.0 ** -8))
        model.bfloat16()
        return torch.tensor(max([moved] + [(rounded.float() - tensor).abs().max().item() for rounded, tensor in zip(run(), exact)]))


def surely_routed(model, ids, margin=0.03):
    """True for positions up to which every layer's choice of experts is clearer than router scores are rounded: to bfloat16,
    where no margin is given."""
    def scores_of(model):
        """Each layer's scores of all experts, and how many of them are chosen."""
        seen = []
        look = lambda router, _, output: seen.append((output[0].float().view(*ids.shape, -1), router.top_k))
        hooks = [m.register_forward_hook(look) for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
        with torch.no_grad():
            model(ids)
        for hook in hooks:
            hook.remove()
        return seen

    sure = torch.ones(ids.shape, dtype=torch.bool)
    exact = scores_of(model)
    # What the layers before make of rounding may be more than the rounding of the scores themselves.
    rounded = scores_of(copy.deepcopy(model).bfloat16()) if margin == 0.03 else exact
    for (scores, top_k), (other, _) in zip(exact, rounded):
        if top_k == scores.shape[-1]:
            continue
        ranked = scores.sort(-1, descending=True).values
        distance = ranked[..., top_k - 1] - ranked[..., top_k]
        sure.logical_and_(distance > margin * scores.abs().amax(-1) + 6 * (other - scores).abs().amax(-1))
    return sure.long().cummin(1).values.bool()  # later positions see earlier ones


LONG = dict(vocab_size=61, max_position_embeddings=1024, hidden_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
LONG_CASES = {
    "llama": lambda rng: llama(rng, **LONG),
    "llama-llama3": lambda rng: llama(rng, **LONG, rope_parameters={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                                    "original_max_position_embeddings": 256, "rope_theta": 10000.0}),
    "llama-yarn": lambda rng: llama(rng, **LONG, rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "rope_theta": 10000.0}),
    "llama-dynamic": lambda rng: llama(rng, **{**LONG, "max_position_embeddings": 200}, rope_parameters={"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10000.0}),
    "llama-longrope": lambda rng: llama(rng, **LONG, rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 300,
                                                                      "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.5, 2.0, 3.0, 4.0]}),
    "mistral": lambda rng: llama_like(transformers.MistralConfig, rng, **LONG, sliding_window=100),
    "gemma2": lambda rng: gemma(transformers.Gemma2Config, rng, **LONG, sliding_window=70),
    "gpt_neox": lambda rng: neox(rng, vocab_size=61, max_position_embeddings=1024),
    "bloom": lambda rng: bloom(rng, vocab_size=61),
    "gpt2": lambda rng: gpt2(rng, vocab_size=61, n_positions=1024),
    "gptj": lambda rng: gptj(rng, vocab_size=61, n_positions=1024),
    "opt": lambda rng: opt(rng, vocab_size=61, max_position_embeddings=1024),
    "llama-linear": lambda rng: llama(rng, **{**LONG, "max_position_embeddings": 256}, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}),
    "qwen2": lambda rng: llama_like(transformers.Qwen2Config, rng, **{**LONG, "head_dim": None}, use_sliding_window=True, sliding_window=90, max_window_layers=1),
    "qwen3": lambda rng: llama_like(transformers.Qwen3Config, rng, **LONG, rope_parameters={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256,
                                                                                           "rope_theta": 10000.0}),
    "gemma3_text": lambda rng: gemma(transformers.Gemma3TextConfig, rng, **LONG, sliding_window=70, sliding_window_pattern=2),
    "phi3": lambda rng: llama_like(transformers.Phi3Config, rng, **{**LONG, "head_dim": None, "hidden_size": 32}, sliding_window=100, original_max_position_embeddings=300,
                                   rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.5, 2.0, 3.0, 4.0]}),
    "mixtral": lambda rng: mixtral(rng, **LONG, sliding_window=80),
    "qwen2_moe": lambda rng: moe(transformers.Qwen2MoeConfig, rng, **{**LONG, "head_dim": None}, shared_expert_intermediate_size=5, use_sliding_window=True, sliding_window=90,
                                 max_window_layers=1),
    "qwen3_moe": lambda rng: moe(transformers.Qwen3MoeConfig, rng, **LONG, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}),
}


def make_long(directory, seed):
    for index, (name, config) in enumerate(LONG_CASES.items()):
        rng = random.Random(f"{seed} {name}")
        model = transformers.AutoModelForCausalLM.from_config(config(rng), attn_implementation="eager", experts_implementation="eager").eval().float()
        randomize(model, seed + index)
        model.save_pretrained(os.path.join(directory, name))
        ids = torch.tensor([[rng.randrange(61) for _ in range(rng.randrange(400, 500))]])
        sure = surely_routed(model, ids, margin=1e-5)
        with torch.no_grad():
            logits = model(ids).logits
            rounding, = moved_by_rounding(model, lambda: [model(ids).logits[sure]], draws=1) if sure.any() else [0.0]
        save_file({"ids": ids, "logits": logits.contiguous(), "sure": sure, "rounding": torch.tensor(rounding)}, os.path.join(directory, name + ".expected.safetensors"))


def make(directory, seed):
    for index, (name, config) in enumerate(CASES.items()):
        rng = random.Random(f"{seed} {name}")
        model = transformers.AutoModelForCausalLM.from_config(config(rng), attn_implementation="eager", experts_implementation="eager").eval().float()
        randomize(model, seed + index)
        model.save_pretrained(os.path.join(directory, name))
        if name.endswith("-stacked"):
            # All experts of a layer in one tensor, as newer checkpoints have them.
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, os.path.join(directory, name, "model.safetensors"), {"format": "pt"})
        length = rng.randrange(9, 21)
        ids = torch.tensor([[rng.randrange(model.config.vocab_size) for _ in range(length)] for _ in range(rng.randrange(1, 4))])
        # A forward of its own, before the longer one: with dynamic rotary scaling scores depend on the longest so far.
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        with torch.no_grad():
            logits = model(ids).logits
        padded = padded_on_the_left(model, rng, length)  # before the greedy continuation, which may grow longer
        out = {"ids": ids, "logits": logits.detach(), "loss": loss.detach(), "greedy": torch.tensor(greedy(model, ids[0, :5].tolist(), 8))}
        for parameter, tensor in model.named_parameters():
            for stored, grad in stored_tensors(model.config.model_type, parameter, tensor.grad):
                out["grad." + stored] = grad.clone()
        out.update(padded)
        out["sure"] = surely_routed(model, ids)
        mask, positions = padded["padded.mask"], padded["padded.position_ids"]
        more = {"position_ids": positions} if positions.numel() else {}
        with torch.no_grad():
            moved = moved_by_rounding(model, lambda: [model(ids).logits, model(padded["padded.ids"], attention_mask=mask.long(), **more).logits[mask]])
        out["rounding"], out["padded.rounding"] = torch.tensor(moved[0]), torch.tensor(moved[1])
        out["grad_rounding"] = gradients_moved_by_rounding(
            model, lambda: torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten()))
        sure = out["sure"]
        with torch.no_grad():
            moved, = moved_by_rounding(model, lambda: [model(ids).logits[sure]], 2.0 ** -8) if sure.any() else [0.0]
            rounded = model.bfloat16()(ids).logits.float()
        out["bf16_error"] = torch.tensor(max(moved, (rounded - logits)[sure].abs().amax().item() if sure.any() else 0.0))
        save_file({k: v.contiguous().clone() for k, v in out.items()}, os.path.join(directory, name + ".expected.safetensors"))


def check(directories):
    for directory in directories:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True, dtype=torch.float32, experts_implementation="eager")
        assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), (directory, report)
        ours = load_file(os.path.join(directory, "ours.safetensors"))
        with torch.no_grad():
            difference = (model(ours["ids"]).logits - ours["logits"]).abs().max().item()
        assert difference <= TOLERANCE, f"{directory}: logits differ by {difference}"
        if "greedy" in ours:
            expected = greedy(model, ours["ids"][0, :5].tolist(), len(ours["greedy"]))
            assert ours["greedy"].tolist() == expected, f"{directory}: {ours['greedy'].tolist()} instead of {expected}"
        print(f"{directory}: transformers agrees within {difference:.2g}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "make-long":
        make_long(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "make-encoders":
        make_encoders(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "make-others":
        make_others(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "check-others":
        check_others(sys.argv[2:])
    elif sys.argv[1] == "check-encoders":
        check_encoders(sys.argv[2:])
    else:
        check(sys.argv[2:])
