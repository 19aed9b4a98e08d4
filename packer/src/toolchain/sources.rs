//! Apt's configured sources, in both their forms, and the Debian mirror among them. The mirror is
//! whatever the administrator of this machine chose; c2w names no host of its own.

use std::path::{Path, PathBuf};

/// Where Debian's archive is and which keys sign it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) uri: String,
    pub(crate) keyring: PathBuf,
}

/// Debian's own keys, as its package debian-archive-keyring installs them.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One binary package source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uri: String,
    signed_by: Option<String>,
}

/// The mirror to use: `$C2W_DEBIAN_MIRROR` if set, else the first configured source of Debian's
/// main archive.
pub(crate) fn debian_mirror() -> Option<Mirror> {
    if let Some(uri) = std::env::var("C2W_DEBIAN_MIRROR").ok().filter(|uri| !uri.is_empty()) {
        return Some(Mirror { uri, keyring: DEBIAN_KEYRING.into() });
    }
    let apt = Path::new("/etc/apt");
    let mut files: Vec<PathBuf> = std::fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    let sources = files.iter().flat_map(|path| {
        // A file that cannot be read has nothing to offer; apt itself reports it.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_list(&text),
            Some("sources") => parse_deb822(&text),
            _ => Vec::new(),
        }
    });
    choose(sources)
}

/// The first source whose address ends in `/debian`: security updates, backports of other
/// projects and dated archives end otherwise.
fn choose(sources: impl IntoIterator<Item = Source>) -> Option<Mirror> {
    let found = sources.into_iter().find(|source| source.uri.trim_end_matches('/').ends_with("/debian"))?;
    // A key may also stand in the file itself; Debian's own is the same one.
    let keyring =
        found.signed_by.filter(|path| path.starts_with('/')).unwrap_or_else(|| DEBIAN_KEYRING.to_owned());
    Some(Mirror { uri: found.uri.trim_end_matches('/').to_owned(), keyring: keyring.into() })
}

/// The one-line form: `deb [option=value ...] URI suite component...` (sources.list(5)).
fn parse_list(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let uri = rest.split_whitespace().next()?.to_owned();
        Some(Source { uri, signed_by: signed_by.map(str::to_owned) })
    };
    text.lines().filter_map(parse).collect()
}

/// The form in stanzas of `Field: value` lines, values continued on indented lines.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(stanza_sources(&std::mem::take(&mut stanza)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((field, value)) = line.split_once(':') {
            stanza.push((field.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn stanza_sources(stanza: &[(String, String)]) -> Vec<Source> {
    let field = |name: &str| stanza.iter().find(|(field, _)| field == name).map(|(_, value)| value.trim());
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace();
    let disabled = field("enabled").is_some_and(|value| ["no", "false", "0"].contains(&value));
    if disabled || !words("types").any(|kind| kind == "deb") {
        return Vec::new();
    }
    words("uris")
        .map(|uri| Source { uri: uri.to_owned(), signed_by: field("signed-by").map(str::to_owned) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(sources: &[Source]) -> Vec<&str> {
        sources.iter().map(|source| source.uri.as_str()).collect()
    }

    #[test]
    fn one_line_sources() {
        let text = "# deb http://off.example/debian stable main\n\
                    deb http://a.example/debian stable main # main archive\n\
                    deb-src http://src.example/debian stable main\n\
                    deb [arch=amd64 signed-by=/k.gpg] https://b.example/debian/ stable main\n\
                    deb\t[ arch=amd64,riscv64 ]\thttp://c.example/x ./\n\
                    debris http://d.example/debian x\n\
                    deb [unclosed http://e.example/debian x\n\
                    deb\n";
        let sources = parse_list(text);
        assert_eq!(
            uris(&sources),
            ["http://a.example/debian", "https://b.example/debian/", "http://c.example/x"]
        );
        assert_eq!(sources[0].signed_by, None);
        assert_eq!(sources[1].signed_by.as_deref(), Some("/k.gpg"));
    }

    #[test]
    fn stanza_sources_are_read() {
        let text = "Types: deb deb-src\n\
                    # http://comment.example/debian\n\
                    URIs: http://a.example/debian\n  http://b.example/debian\n\
                    Suites: stable\nComponents: main\nSigned-By: /k.gpg\n\n\n\
                    types: deb-src\nuris: http://src.example/debian\n\n\
                    Types: deb\nURIs: http://off.example/debian\nEnabled: no\n\n\
                    Types: deb\nURIs: http://c.example/debian-security\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc";
        let sources = parse_deb822(text);
        assert_eq!(
            uris(&sources),
            ["http://a.example/debian", "http://b.example/debian", "http://c.example/debian-security"]
        );
        assert_eq!(sources[1].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(sources[2].signed_by.as_deref(), Some("-----BEGIN PGP PUBLIC KEY BLOCK----- . abc"));
    }

    #[test]
    fn the_main_archive_is_chosen() {
        let mirror = |lines: &str| choose(parse_list(lines));
        let chosen = mirror(
            "deb http://a.example/debian-security s main\n\
             deb http://a.example/ubuntu s main\n\
             deb http://a.example/archive/debian/20250101T000000Z s main\n\
             deb [signed-by=/k.gpg] http://a.example/debian/ s main\n\
             deb http://b.example/debian s main\n",
        );
        assert_eq!(
            chosen,
            Some(Mirror { uri: "http://a.example/debian".to_owned(), keyring: "/k.gpg".into() })
        );
        assert_eq!(mirror("deb http://a.example/ubuntu s main"), None);
        assert_eq!(
            mirror("deb http://a.example/debian s main").map(|found| found.keyring),
            Some(DEBIAN_KEYRING.into())
        );
    }
}
