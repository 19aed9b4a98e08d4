//! What a server says about how to authenticate: the header `WWW-Authenticate` (RFC 9110, 11.6.1).

/// One challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The scheme, in lower case.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The challenges of a header's value. What cannot be understood ends the list.
    pub(super) fn parse(header: &str) -> Vec<Challenge> {
        let mut challenges: Vec<Challenge> = Vec::new();
        let mut rest = header.trim_start_matches([' ', ',']);
        while !rest.is_empty() {
            let (token, after) = split_token(rest);
            if token.is_empty() {
                break;
            }
            let after = after.trim_start();
            match (after.strip_prefix('='), challenges.last_mut()) {
                (Some(value), Some(challenge)) => {
                    let Some((value, after)) = split_value(value.trim_start()) else { break };
                    challenge.parameters.push((token.to_ascii_lowercase(), value));
                    rest = after;
                }
                (Some(_), None) => break,
                (None, _) => {
                    challenges.push(Challenge { scheme: token.to_ascii_lowercase(), parameters: Vec::new() });
                    rest = after;
                }
            }
            rest = rest.trim_start_matches([' ', ',']);
        }
        challenges
    }
}

fn split_token(text: &str) -> (&str, &str) {
    text.split_at(text.find([' ', '=', ',', '"']).unwrap_or(text.len()))
}

/// A token or a quoted string.
fn split_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = split_token(text);
        return Some((token.to_string(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_servers_write_them() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://a/token",service="s",scope="repository:x:pull,push""#,
                "bearer realm=https://a/token service=s scope=repository:x:pull,push",
            ),
            (r#"Basic realm="Registry Realm""#, "basic realm=Registry Realm"),
            (r#"BASIC"#, "basic"),
            (r#"Negotiate, Basic realm=x , charset = "UTF-8""#, "negotiate; basic realm=x charset=UTF-8"),
            (r#"Bearer realm="a \"b\\""#, r#"bearer realm=a "b\"#),
            (r#"Bearer realm="open"#, "bearer"),
            (r#"realm="x""#, ""),
            ("", ""),
            (" , ", ""),
            ("=", ""),
        ] {
            let shown = |challenge: &Challenge| {
                let parameters = challenge.parameters.iter().map(|(name, value)| format!(" {name}={value}"));
                challenge.scheme.clone() + &parameters.collect::<String>()
            };
            let found: Vec<String> = Challenge::parse(header).iter().map(shown).collect();
            assert_eq!(found.join("; "), expected, "{header}");
        }
    }
}
