//! A small model as a Hugging Face folder, and what must hold for every model file that is not GGUF: for tests and fuzz targets.

use loquat::base::{MemoryBudget, Result, SharedBytes};
use loquat::format::ModelFile;
use loquat::quant::row_bytes;

/// Touches all of a sound model.
pub fn examine(file: &ModelFile) {
    for tensor in &file.tensors {
        assert_eq!(file.tensor(&tensor.name).unwrap().offset, tensor.offset);
        assert!(!tensor.dims.is_empty() && tensor.dims.len() <= 4 && !tensor.dims.contains(&0));
        assert_eq!(row_bytes(tensor.ty, tensor.elements() as usize), Some(tensor.data.len()), "{}", tensor.name);
        std::hint::black_box(tensor.data.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)));
    }
    for (key, value) in file.metadata.iter() {
        assert_eq!(file.metadata.get(key).unwrap().ty(), value.ty());
    }
}

/// A small model in two shards, as the files of a folder.
pub fn small_folder() -> Vec<(String, Vec<u8>)> {
    let config = r#"{"model_type":"llama","hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"max_position_embeddings":64,"vocab_size":3,"rms_norm_eps":1e-5,"rope_theta":10000.0,"hidden_act":"silu","tie_word_embeddings":true,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":16},"eos_token_id":[1,2]}"#;
    let first = r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[3,8],"data_offsets":[0,96]},"model.norm.weight":{"dtype":"F16","shape":[8],"data_offsets":[96,112]}}"#;
    let second = r#"{"__metadata__":{"format":"pt"},"model.layers.0.self_attn.q_proj.weight":{"dtype":"F8_E4M3","shape":[8,8],"data_offsets":[0,64]},"model.layers.0.self_attn.q_proj.weight_scale":{"dtype":"F32","shape":[8,1],"data_offsets":[64,96]}}"#;
    let index = r#"{"metadata":{"total_size":208},"weight_map":{"model.embed_tokens.weight":"a-1.safetensors","model.norm.weight":"a-1.safetensors","model.layers.0.self_attn.q_proj.weight":"a-2.safetensors","model.layers.0.self_attn.q_proj.weight_scale":"a-2.safetensors"}}"#;
    let weights = |header: &str, data: usize| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0x38; data]].concat();
    let own = r#"{"bos_token":{"content":"a"},"eos_token":"b","chat_template":[{"name":"default","template":"{{ messages }}"}]}"#;
    [
        ("config.json", config.into()),
        ("generation_config.json", br#"{"eos_token_id":1,"bos_token_id":0}"#.to_vec()),
        ("tokenizer_config.json", own.into()),
        ("model.safetensors.index.json", index.into()),
        ("a-1.safetensors", weights(first, 112)),
        ("a-2.safetensors", weights(second, 96)),
    ]
    .map(|(name, bytes): (&str, Vec<u8>)| (name.to_owned(), bytes))
    .to_vec()
}

/// The same with `bytes` as the file `name`, in place of the one that it has.
pub fn small_folder_with(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = small_folder();
    files.retain(|(known, _)| known != name);
    files.push((name.to_owned(), bytes.to_vec()));
    files
}

/// Reads the files of a folder that is called "folder".
pub fn read(files: &[(String, Vec<u8>)]) -> Result<ModelFile> {
    let files = files.iter().map(|(name, bytes)| (name.clone(), SharedBytes::copied(bytes))).collect();
    ModelFile::from_folder(files, "folder", &MemoryBudget::new(64 << 20))
}

/// The same: a sound model, or an error that names the folder.
pub fn read_or_told(files: &[(String, Vec<u8>)]) -> Option<ModelFile> {
    match read(files) {
        Ok(file) => {
            examine(&file);
            Some(file)
        }
        Err(error) => {
            assert!(error.message().starts_with("folder"), "{error}");
            None
        }
    }
}
