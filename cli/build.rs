//! Names this build by its sources, for what only the very same machine can use: `C2W_BUILD`, 32 hexadecimal digits.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What decides how a machine behaves and what its saved state looks like.
const SOURCES: [&str; 7] = [
    "Cargo.lock",
    "engine/src",
    "devices/src",
    "decoders/src",
    "packer/src/image",
    "packer/agent/src",
    "cli/src",
];

fn main() -> io::Result<()> {
    let cli = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let root = cli.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut hash = Sha256::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
        add(root, Path::new(source), &mut hash)?;
    }
    let digits: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=C2W_BUILD={digits}");
    Ok(())
}

fn add(root: &Path, name: &Path, hash: &mut Sha256) -> io::Result<()> {
    let path = root.join(name);
    if path.is_dir() {
        let mut entries =
            fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(root, &name.join(entry), hash));
    }
    let bytes = fs::read(&path)?;
    hash.update(name.as_os_str().as_encoded_bytes());
    hash.update([0]);
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
    Ok(())
}
