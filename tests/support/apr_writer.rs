//! An APR writer for tests: well-formed files from plain values, and ill-formed ones by changing the bytes afterwards.

/// A tensor to write: name, type, dimensions (outermost first), bytes.
pub struct Tensor {
    pub name: String,
    pub dtype: u8,
    pub dims: Vec<u64>,
    pub data: Vec<u8>,
}

/// The bytes of a file with this metadata (JSON).
pub fn write(metadata: &str, flags: u16, mut tensors: Vec<Tensor>) -> Vec<u8> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for tensor in &tensors {
        data.resize(usize::next_multiple_of(data.len(), 64), 0);
        index.extend((tensor.name.len() as u16).to_le_bytes());
        index.extend(tensor.name.as_bytes());
        index.extend([tensor.dtype, tensor.dims.len() as u8]);
        tensor.dims.iter().for_each(|dim| index.extend(dim.to_le_bytes()));
        index.extend((data.len() as u64).to_le_bytes());
        index.extend((tensor.data.len() as u64).to_le_bytes());
        data.extend(&tensor.data);
    }
    let index_offset = (64 + metadata.len()).next_multiple_of(64);
    let data_offset = (index_offset + index.len()).next_multiple_of(64);
    let mut file = b"APR\0\x02\0".to_vec();
    file.extend(flags.to_le_bytes());
    file.extend((tensors.len() as u32).to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend((metadata.len() as u32).to_le_bytes());
    file.extend((index_offset as u64).to_le_bytes());
    file.extend((data_offset as u64).to_le_bytes());
    file.resize(64, 0);
    sign_header(&mut file);
    file.extend(metadata.as_bytes());
    file.resize(index_offset, 0);
    file.extend(index);
    file.resize(data_offset, 0);
    file.extend(data);
    let crc = crc32(&file);
    file.extend(crc.to_le_bytes());
    file
}

/// Writes the checksum of the header.
pub fn sign_header(file: &mut [u8]) {
    let header: Vec<u8> = file[..40].iter().chain(&file[44..64]).copied().collect();
    file[40..44].copy_from_slice(&crc32(&header).to_le_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }))
}
