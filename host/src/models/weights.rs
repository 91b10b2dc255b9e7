//! Files of weights: how many parameters they can hold, and whether they are whole, told from their headers.
//!
//! The weights themselves are never read.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

/// The header of a safetensors file is at most so long.
const HEADER_BYTES_MAX: u64 = 100 << 20;

/// The weights of a checkpoint.
#[derive(Debug, Default, Clone, Copy)]
pub struct Weights {
    /// Bytes of the files.
    pub bytes: u64,
    /// Parameters that the tensors can hold at most.
    pub parameters: u64,
}

/// A file of weights.
pub struct WeightFile {
    /// Its length.
    pub bytes: u64,
    /// Parameters that its tensors can hold at most.
    pub parameters: u64,
    /// The names of its tensors, where it tells them.
    pub tensors: BTreeSet<String>,
}

/// Bytes of one parameter of a type, at least: quantised ones are packed into types that say little.
fn width(dtype: &str) -> u64 {
    match dtype {
        "F64" => 8,
        "F32" => 4,
        "F16" | "BF16" => 2,
        _ => 1,
    }
}

/// The file of weights at `path`.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn file(path: &Path) -> Result<WeightFile, String> {
    let refused = |err: io::Error| format!("cannot be read: {err}");
    let length = regular(path)?.len();
    if length == 0 {
        return Err("is empty".to_owned());
    }
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return Ok(WeightFile { bytes: length, parameters: length, tensors: BTreeSet::new() });
    }
    // safetensors: eight bytes of header length, then that much JSON, then the tensors that it places.
    let mut file = crate::owned::open(path).map_err(refused)?;
    let mut head = [0; 9];
    let broken = "is not a safetensors file: perhaps a pointer of Git LFS, or a download that was cut off";
    file.read_exact(&mut head).map_err(|_| broken.to_owned())?;
    let header = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
    if head[8] != b'{' || header == 0 || header > HEADER_BYTES_MAX || header + 8 > length {
        return Err(broken.to_owned());
    }
    let mut text = vec![b'{'];
    file.take(header - 1).read_to_end(&mut text).map_err(refused)?;
    let header_value: Value = serde_json::from_slice(&text).map_err(|_| broken.to_owned())?;
    let (mut end, mut parameters, mut tensors) = (0, 0_u64, BTreeSet::new());
    for (name, tensor) in header_value.as_object().into_iter().flatten() {
        tensors.insert(name.clone());
        let place = |at: usize| tensor.get("data_offsets")?.get(at)?.as_u64();
        let (Some(first), Some(last)) = (place(0), place(1)) else { continue };
        end = end.max(last);
        let dtype = tensor.get("dtype").and_then(Value::as_str).unwrap_or_default();
        parameters = parameters.saturating_add(last.saturating_sub(first) / width(dtype));
    }
    if end > length - 8 - header {
        return Err("is cut off: its header places tensors beyond its end".to_owned());
    }
    Ok(WeightFile { bytes: length, parameters, tensors })
}

/// The names of all shards, by that of one, such as `model-00001-of-00004.safetensors`.
pub fn siblings(name: &str) -> Vec<String> {
    const SHARDS_MAX: u32 = 10_000;
    let parts = || {
        let (rest, ending) = name.rsplit_once('.')?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let of: u32 = count.parse().ok()?;
        number.parse::<u32>().ok()?;
        let width = count.len();
        (of <= SHARDS_MAX).then(|| {
            (1..=of).map(|shard| format!("{stem}-{shard:0width$}-of-{count}.{ending}")).collect::<Vec<_>>()
        })
    };
    parts().unwrap_or_default()
}

/// What is known of a regular file. Asked before it is opened: opening a named pipe waits for ever.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn regular(path: &Path) -> Result<fs::Metadata, String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(metadata),
        Ok(_) => Err("is not a file".to_owned()),
        Err(err) => Err(format!("cannot be read: {err}")),
    }
}
