//! `c2w ls`: the files in an image.

use crate::image_files::ImageFiles;
use crate::output::{time_text, to_stdout};
use anyhow::{Context, Result};
use c2w_packer::image::{Content, Image};
use c2w_packer::rootfs::erofs::{EntryKind, Inode, Reader, ReaderError};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// List files of an image.
#[derive(clap::Args)]
pub struct Args {
    /// The image.
    image: PathBuf,
    /// A file or directory in it.
    #[arg(default_value = "/")]
    path: OsString,
    /// Mode, names, owner, group, size or device, time (UTC), and where links lead.
    #[arg(short)]
    long: bool,
    /// Directories with everything below them, by path.
    #[arg(short = 'R')]
    recursive: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let image = Image::open(&args.image)?;
    let files = ImageFiles::of(&image)?;
    let reader = files.reader()?;
    let start = files.find(&reader, &args.path)?;
    // A terminal shows what it is sent; other programs want the very names.
    let escape = std::io::stdout().is_terminal();
    let mut lines = Vec::new();
    let list = list(&reader, start, args, |name, inode| {
        let mut line = Vec::new();
        if args.long {
            line.extend_from_slice(details(inode).as_bytes());
        }
        push_name(&mut line, name, escape);
        if args.long && inode.kind == EntryKind::Symlink {
            line.extend_from_slice(b" -> ");
            push_name(&mut line, &reader.read_link(inode)?, escape);
        }
        line.push(b'\n');
        lines.extend_from_slice(&line);
        Ok(())
    });
    list.with_context(|| args.image.display().to_string())?;
    to_stdout(|out| out.write_all(&lines))?;
    Ok(0)
}

fn list(
    reader: &Reader<&Content>,
    start: Inode,
    args: &Args,
    mut show: impl FnMut(&[u8], &Inode) -> Result<(), ReaderError>,
) -> Result<(), ReaderError> {
    if start.kind != EntryKind::Directory {
        return show(args.path.as_bytes(), &start);
    }
    if args.recursive {
        return reader
            .walk_from(start, |path, inode| if path.is_empty() { Ok(()) } else { show(path, inode) });
    }
    reader.read_dir(&start)?.iter().try_for_each(|entry| show(&entry.name, &reader.inode(entry.nid)?))
}

fn push_name(line: &mut Vec<u8>, name: &[u8], escape: bool) {
    match std::str::from_utf8(name) {
        Ok(text) if !escape || !text.contains(char::is_control) => line.extend_from_slice(name),
        _ if escape => line.extend(name.escape_ascii()),
        _ => line.extend_from_slice(name),
    }
}

/// As `ls -l` shows it, with numbers for owners.
fn details(inode: &Inode) -> String {
    let size = match inode.kind {
        EntryKind::CharDevice(number) | EntryKind::BlockDevice(number) => {
            format!("{}, {}", number.major, number.minor)
        }
        _ => inode.size.to_string(),
    };
    format!(
        "{} {:>3} {:>5} {:>5} {size:>10} {} ",
        mode_text(inode),
        inode.nlink,
        inode.uid,
        inode.gid,
        time_text(inode.mtime.secs)
    )
}

fn mode_text(inode: &Inode) -> String {
    let kind = match inode.kind {
        EntryKind::Directory => 'd',
        EntryKind::File => '-',
        EntryKind::Symlink => 'l',
        EntryKind::CharDevice(_) => 'c',
        EntryKind::BlockDevice(_) => 'b',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
    };
    let mut text = String::from(kind);
    // The special bit of each class, and its letter with and without the right to execute.
    for (shift, special, letters) in [(6, 0o4000, "sS"), (3, 0o2000, "sS"), (0, 0o1000, "tT")] {
        let bits = inode.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        let executes = bits & 1 != 0;
        text.push(match (inode.mode & special != 0, executes) {
            (true, executes) => letters.as_bytes()[usize::from(!executes)].into(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
