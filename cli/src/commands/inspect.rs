//! `c2w inspect`: what an image says about itself.

use crate::image_files::ImageFiles;
use crate::output::{size_text, to_stdout};
use crate::snapshot::{Saved, StateError};
use anyhow::Result;
use c2w_packer::image::{ByteString, Encoding, Image, PAGE_BYTES, Section};
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
    let facts = Facts {
        files: ImageFiles::of(&image)?.reader()?.inode_count(),
        snapshot: Saved::of(&image)?,
        content_bytes: image
            .header()
            .sections
            .iter()
            .map(|section| image.content_bytes(section))
            .collect::<Result<_, _>>()?,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&as_json(&image, &facts))?;
        to_stdout(|out| writeln!(out, "{text}"))?;
    } else {
        to_stdout(|out| as_text(&image, &facts, out))?;
    }
    Ok(0)
}

/// What is not in the header or the manifest.
struct Facts {
    files: u64,
    snapshot: Option<Result<Saved, StateError>>,
    /// By section.
    content_bytes: Vec<u64>,
}

fn as_json(image: &Image, facts: &Facts) -> serde_json::Value {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let section = |(section, content_bytes): (&Section, &u64)| {
        json!({
            "name": section.id.to_string(), "offset": section.offset, "bytes": section.len_bytes,
            "content_bytes": content_bytes, "compressed": section.encoding != Encoding::Plain,
            "blake3": hex(&section.hash),
        })
    };
    let header = image.header();
    json!({
        "format": header.version(),
        "bytes": header.file_bytes,
        "files": facts.files,
        "sections": header.sections.iter().zip(&facts.content_bytes).map(section).collect::<Vec<_>>(),
        "snapshot": facts.snapshot.as_ref().map(snapshot_json),
        "manifest": image.manifest(),
    })
}

fn snapshot_json(snapshot: &Result<Saved, StateError>) -> serde_json::Value {
    match snapshot {
        Ok(saved) => json!({
            "usable": true,
            "memory_bytes": saved.memory_bytes,
            "resident_pages": saved.resident_pages(),
            "process_running": saved.running.process.is_some(),
        }),
        Err(error) => json!({ "usable": false, "reason": error.to_string() }),
    }
}

fn snapshot_text(snapshot: &Result<Saved, StateError>) -> String {
    match snapshot {
        Ok(saved) => {
            let what = if saved.running.process.is_some() { "a running process" } else { "a booted machine" };
            let (pages, memory) = (saved.resident_pages(), saved.memory_bytes);
            let resident = size_text(pages.saturating_mul(PAGE_BYTES));
            format!("{what}, {pages} pages ({resident}) of {} MiB; this build resumes it", memory >> 20)
        }
        Err(error) => format!("cannot be resumed, {error}"),
    }
}

fn as_text(image: &Image, facts: &Facts, out: &mut dyn Write) -> io::Result<()> {
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
    row("files", vec![facts.files.to_string()])?;
    row("entry point", words(&config.entrypoint))?;
    row("command", words(&config.cmd))?;
    row("environment", config.env.iter().map(ByteString::display).collect())?;
    row("directory", or(config.working_dir.display(), "/"))?;
    row("user", or(config.user.clone(), "root"))?;
    row("stop signal", or(config.stop_signal.clone(), "SIGTERM"))?;
    row("exposed ports", keys(config.exposed_ports.keys().collect()))?;
    row("volumes", keys(config.volumes.keys().collect()))?;
    row("labels", config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect())?;
    row("snapshot", facts.snapshot.iter().map(snapshot_text).collect())?;
    let section = |(section, content_bytes): (&Section, &u64)| {
        let content = match section.encoding {
            Encoding::Plain => String::new(),
            Encoding::Zstd | Encoding::ZstdAfterKernel => {
                format!(", compressed from {}", size_text(*content_bytes))
            }
        };
        format!("{:12}{:>10}{content}", section.id.to_string(), size_text(section.len_bytes))
    };
    row("sections", image.header().sections.iter().zip(&facts.content_bytes).map(section).collect())
}

/// The image does not steer the reader's terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
