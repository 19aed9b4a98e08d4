//! `c2w inspect`: what an image says about itself.

use crate::image_files::ImageFiles;
use crate::output::{size_text, to_stdout};
use anyhow::Result;
use c2w_packer::image::{ByteString, FORMAT_VERSION, Image};
use serde_json::json;
use std::io::{self, Write};
use std::path::PathBuf;

/// Show what an image holds and how it runs.
#[derive(clap::Args)]
pub struct Args {
    /// The image.
    image: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let image = Image::open(&args.image)?;
    let files = ImageFiles::of(&image)?.reader()?.inode_count();
    if args.json {
        let text = serde_json::to_string_pretty(&as_json(&image, files))?;
        to_stdout(|out| writeln!(out, "{text}"))?;
    } else {
        to_stdout(|out| as_text(&image, files, out))?;
    }
    Ok(0)
}

fn as_json(image: &Image, files: u64) -> serde_json::Value {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sections: Vec<_> = image
        .header()
        .sections
        .iter()
        .map(|section| {
            json!({
                "name": section.id.to_string(), "offset": section.offset, "bytes": section.len_bytes,
                "blake3": hex(&section.hash),
            })
        })
        .collect();
    json!({
        "format": FORMAT_VERSION,
        "bytes": image.header().file_bytes,
        "files": files,
        "sections": sections,
        "manifest": image.manifest(),
    })
}

fn as_text(image: &Image, files: u64, out: &mut dyn Write) -> io::Result<()> {
    let manifest = image.manifest();
    let config = &manifest.config;
    let mut row = |name: &str, values: Vec<String>| {
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        values.iter().zip(names).try_for_each(|(value, name)| writeln!(out, "{name:16}{}", plain(value)))
    };
    let words = |words: &[ByteString]| match words {
        [] => Vec::new(),
        words => vec![words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")],
    };
    let or = |text: String, default: &str| vec![if text.is_empty() { default.to_string() } else { text }];
    let keys = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<String>>();
    row("file", vec![format!("{}, {}", image.path().display(), size_text(image.header().file_bytes))])?;
    row("machine", vec![format!("{}, {} MiB", manifest.machine.arch, manifest.machine.memory_bytes >> 20)])?;
    row("kernel options", or(manifest.machine.cmdline.clone(), "none"))?;
    row("made by", vec![format!("c2w {}", manifest.provenance.c2w_version)])?;
    row("from", manifest.provenance.image_digest.iter().cloned().collect())?;
    row("files", vec![files.to_string()])?;
    row("entry point", words(&config.entrypoint))?;
    row("command", words(&config.cmd))?;
    row("environment", config.env.iter().map(ByteString::display).collect())?;
    row("directory", or(config.working_dir.display(), "/"))?;
    row("user", or(config.user.clone(), "root"))?;
    row("stop signal", or(config.stop_signal.clone(), "SIGTERM"))?;
    row("exposed ports", keys(config.exposed_ports.keys().collect()))?;
    row("volumes", keys(config.volumes.keys().collect()))?;
    row("labels", config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect())?;
    let section = |section: &c2w_packer::image::Section| {
        format!("{:12}{:>10}", section.id.to_string(), size_text(section.len_bytes))
    };
    row("sections", image.header().sections.iter().map(section).collect())
}

/// The image does not steer the reader's terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
