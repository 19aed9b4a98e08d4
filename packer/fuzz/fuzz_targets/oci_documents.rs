//! What strangers say about images: manifests, indexes, configurations, references and platforms.

#![no_main]

use c2w_packer::oci::{Document, MediaType, Mirror, Platform, container_config, parse_config};
use c2w_packer::source::Source;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for media_type in [None, Some(MediaType::ImageIndex), Some(MediaType::ImageManifest)] {
        if let Err(error) = Document::parse(input, media_type.as_ref()) {
            assert_plain(&error.to_string());
        }
    }
    match parse_config(input).and_then(|config| container_config(&config)) {
        Ok(config) => {
            let words = config.entrypoint.iter().chain(&config.cmd).chain(&config.env);
            assert!(words.into_iter().all(|word| !word.as_bytes().contains(&0)));
            let directory = config.working_dir.as_bytes();
            assert!(directory.is_empty() || directory.starts_with(b"/"));
        }
        Err(error) => assert_plain(&error.to_string()),
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(source) = text.parse::<Source>() {
        let _ = source.to_string();
    }
    let _ = text.parse::<Mirror>();
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse(), Ok(platform));
    }
});

/// A message is one line, whatever it quotes.
fn assert_plain(message: &str) {
    assert!(!message.contains(char::is_control), "{message:?}");
}
