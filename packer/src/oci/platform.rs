//! Platforms: what an image is for, and which of an index's images is taken.

use super::error::plain;
use crate::image::Arch;
use oci_spec::image::Descriptor;
use std::fmt;
use std::str::FromStr;

/// An operating system, always Linux, and a processor by the names that OCI gives them (those of
/// the Go language).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    architecture: &'static str,
    variant: Option<String>,
}

/// Architectures there are machines for. x86_64 machines run 32-bit programs, too.
const ARCHITECTURES: [(&str, Arch); 3] =
    [("amd64", Arch::X86_64), ("riscv64", Arch::Riscv64), ("386", Arch::X86_64)];
/// Variants of amd64 that its machine has (x86-64-v2), the best first.
const AMD64_VARIANTS: [Option<&str>; 3] = [Some("v2"), None, Some("v1")];

impl Platform {
    /// The platform of a machine.
    pub fn of(arch: Arch) -> Platform {
        let architecture = match arch {
            Arch::X86_64 => "amd64",
            Arch::Riscv64 => "riscv64",
        };
        Platform { architecture, variant: None }
    }

    /// The machine that runs it.
    pub fn machine(&self) -> Arch {
        let found = ARCHITECTURES.iter().find(|(name, _)| *name == self.architecture);
        found.map_or(Arch::X86_64, |(_, arch)| *arch)
    }

    /// The processor's name.
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// How well something for these three fits: less is better, `None` not at all.
    fn rank(&self, os: &str, architecture: &str, variant: Option<&str>) -> Option<usize> {
        if os != "linux" || architecture != self.architecture {
            return None;
        }
        let variant = variant.filter(|variant| !variant.is_empty());
        match (&self.variant, self.architecture) {
            (Some(wanted), _) => (variant == Some(wanted)).then_some(0),
            (None, "amd64") => AMD64_VARIANTS.iter().position(|known| *known == variant),
            (None, _) => Some(usize::from(variant.is_some())),
        }
    }

    /// Whether an image with these in its configuration runs here.
    pub fn runs(&self, os: &str, architecture: &str, variant: Option<&str>) -> bool {
        self.rank(os, architecture, variant).is_some()
    }

    /// The image of an index to take.
    pub(super) fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let rank = |descriptor: &Descriptor| {
            let platform = descriptor.platform().as_ref()?;
            let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
            self.rank(&os, &architecture, platform.variant().as_deref())
        };
        // The first of equals, as docker takes it.
        let ranked = manifests.iter().filter_map(|descriptor| Some((rank(descriptor)?, descriptor)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor)
    }

    /// What to do if there are only images for `available`.
    pub(crate) fn hint(available: &[String]) -> String {
        let other = available.iter().find(|name| name.parse::<Platform>().is_ok());
        match other {
            Some(other) => format!("; --platform {other} makes a machine that runs it"),
            None => "; c2w has machines for linux/amd64 and linux/riscv64".to_string(),
        }
    }
}

/// A platform for messages.
pub(super) fn describe(os: &str, architecture: &str, variant: Option<&str>) -> String {
    let variant = variant.filter(|variant| !variant.is_empty());
    plain(&format!("{os}/{architecture}{}", variant.map(|text| format!("/{text}")).unwrap_or_default()))
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe("linux", self.architecture, self.variant.as_deref()))
    }
}

impl FromStr for Platform {
    type Err = String;

    /// `linux/riscv64`, `linux/amd64/v2`, or the processor alone, also by the kernel's name.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("unknown platform {text:?} (linux/amd64, linux/riscv64 or linux/386)");
        let mut parts = text.split('/');
        let mut name = parts.next().unwrap_or_default();
        if name == "linux" {
            name = parts.next().unwrap_or_default();
        }
        let name = if matches!(name, "x86_64" | "x86-64") { "amd64" } else { name };
        let (architecture, _) = ARCHITECTURES.iter().find(|(known, _)| *known == name).ok_or_else(bad)?;
        let variant = parts.next().map(str::to_string);
        let runs = |variant: &str| match name {
            "amd64" => AMD64_VARIANTS.contains(&Some(variant)),
            _ => {
                (1..=32).contains(&variant.len()) && variant.bytes().all(|byte| byte.is_ascii_alphanumeric())
            }
        };
        if parts.next().is_some() || variant.as_deref().is_some_and(|variant| !runs(variant)) {
            return Err(bad());
        }
        Ok(Platform { architecture, variant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let descriptor = |(number, platform): (usize, &&str)| {
            let mut parts = platform.split('/');
            let platform = serde_json::json!({
                "os": parts.next().unwrap(), "architecture": parts.next().unwrap(), "variant": parts.next(),
            });
            let json = serde_json::json!({
                "mediaType": "m", "digest": digest, "size": number, "platform": platform,
            });
            serde_json::from_value(json).unwrap()
        };
        platforms.iter().enumerate().map(descriptor).collect()
    }

    #[test]
    fn the_best_image_is_chosen() {
        let all =
            ["linux/arm64", "windows/amd64", "linux/amd64/v3", "linux/amd64", "linux/amd64", "linux/riscv64"];
        for (wanted, platforms, expected) in [
            ("linux/amd64", &all[..], Some(3)),
            ("riscv64", &all, Some(5)),
            ("linux/amd64/v1", &all, None),
            ("386", &all, None),
            ("linux/386", &["linux/amd64", "linux/386"], Some(1)),
            ("amd64", &["linux/amd64/v3"], None),
            ("amd64", &["linux/amd64/v1", "linux/amd64/v2", "unknown/unknown"], Some(1)),
            ("amd64", &["linux/amd64/", "unknown/unknown"], Some(0)),
            ("amd64", &[], None),
        ] {
            let manifests = index(platforms);
            let platform: Platform = wanted.parse().unwrap();
            let chosen = platform.choose(&manifests).map(Descriptor::size);
            assert_eq!(chosen, expected, "{wanted} of {platforms:?}");
        }
    }

    #[test]
    fn platforms_are_written_as_docker_does() {
        for (text, expected) in [
            ("linux/riscv64", Some("linux/riscv64")),
            ("riscv64", Some("linux/riscv64")),
            ("x86_64", Some("linux/amd64")),
            ("linux/amd64/v2", Some("linux/amd64/v2")),
            ("linux/386", Some("linux/386")),
            ("linux/amd64/v3", None),
            ("linux/amd64/v2/x", None),
            ("386/", None),
            ("386/a ", None),
            ("386/\t", None),
            ("linux/riscv64/", None),
            ("linux/riscv64/rva23", Some("linux/riscv64/rva23")),
            ("linux", None),
            ("linux/arm64", None),
            ("windows/amd64", None),
            ("", None),
        ] {
            let parsed = text.parse::<Platform>().ok().map(|platform| platform.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }
}
