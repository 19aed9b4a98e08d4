//! Collects the agent's sources, so that an installed c2w can build it for a guest.
//!
//! Writes `agent_sources.rs`: a slice of file names, relative to the root of a workspace, and
//! contents.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let packer = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let root = packer.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut files = vec!["Cargo.toml".into(), "Cargo.lock".into(), "packer/agent/Cargo.toml".into()];
    collect(root, Path::new("packer/agent/src"), &mut files)?;
    files.sort();
    let mut text = "&[\n".to_owned();
    for file in files {
        let path = root.join(&file);
        println!("cargo::rerun-if-changed={}", path.display());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    ({:?}, include_bytes!({:?}) as &[u8]),", file, path);
    }
    println!("cargo::rerun-if-changed={}", root.join("packer/agent/src").display());
    text.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(out.join("agent_sources.rs"), text)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let path = dir.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
