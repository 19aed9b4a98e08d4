//! Makes one artefact of the cache and prints where it is, for scripts and for trying out.
//!
//! `artefact kernel|agent|rootfs riscv64|x86_64` prints a path, `rootfs` with more packages at its end; `artefact debian
//! ARCH SUITE PACKAGE...` prints that of a Debian whose packages are configured; `artefact rust TARGET...` prints shell
//! commands that set the environment in which cargo builds for those targets.

use c2w_packer::cache::Cache;
use c2w_packer::image::Arch;
use c2w_packer::{agent_build, debian, demo, kernel, toolchain};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("artefact: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String, Box<dyn Error>> {
    let progress = &|line: &str| eprintln!("artefact: {line}");
    let path = match words {
        ["kernel", arch] => kernel::build(arch.parse::<Arch>()?, progress)?,
        ["agent", arch] => agent_build::build(arch.parse::<Arch>()?, progress)?,
        ["rootfs", arch, packages @ ..] => demo::rootfs_with(arch.parse::<Arch>()?, packages, progress)?,
        ["debian", arch, suite, packages @ ..] => {
            debian::installed(arch.parse::<Arch>()?, suite, packages, progress)?
        }
        ["rust", targets @ ..] if !targets.is_empty() => {
            let rust = toolchain::rust_with_std(&Cache::of_user()?, targets, progress)?;
            let export = |(name, value): (String, std::ffi::OsString)| {
                format!("export {name}='{}'\n", value.to_string_lossy().replace('\'', "'\\''"))
            };
            return Ok(rust.environment().into_iter().map(export).collect());
        }
        _ => {
            return Err("usage: artefact kernel|agent ARCH, artefact rootfs ARCH PACKAGE..., \
                 artefact debian ARCH SUITE PACKAGE..., or artefact rust TARGET..."
                .into());
        }
    };
    Ok(format!("{}\n", path.display()))
}
