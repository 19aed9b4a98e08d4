//! Who a process runs as: docker's `--user` against the image's `/etc/passwd` and `/etc/group`.

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, without doubles.
    pub groups: Vec<u32>,
    /// Home directory, `/` when the image does not say.
    pub home: Vec<u8>,
}

/// Why a user cannot be resolved.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The name is not in `/etc/passwd`.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// The name is not in `/etc/group`.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
}

/// Resolves `user`, `user:group`, `uid`, `uid:gid` or nothing (root).
///
/// A name goes before a number. A number need not be in the files; its group is then 0. The
/// user's supplementary groups count only when no group was given.
///
/// # Errors
/// When a name is unknown.
pub fn resolve(wanted: &[u8], passwd: &[u8], group: &[u8]) -> Result<User, UserError> {
    let mut parts = wanted.splitn(2, |byte| *byte == b':');
    let wanted_user = parts.next().filter(|part| !part.is_empty()).unwrap_or(b"0");
    let wanted_group = parts.next().filter(|part| !part.is_empty());
    let wanted_uid = number(wanted_user);

    let entry = lines(passwd)
        .filter_map(Passwd::parse)
        .find(|entry| entry.name == wanted_user)
        .or_else(|| lines(passwd).filter_map(Passwd::parse).find(|entry| Some(entry.uid) == wanted_uid));
    let mut user = match (&entry, wanted_uid) {
        (Some(entry), _) => {
            User { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: entry.home.to_vec() }
        }
        (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), home: Vec::new() },
        (None, None) => return Err(UserError::NoUser(text(wanted_user))),
    };
    if user.home.is_empty() {
        user.home.push(b'/');
    }
    if let Some(wanted) = wanted_group {
        let by_name = lines(group).filter_map(Group::parse).find(|entry| entry.name == wanted);
        let gid = by_name.map(|entry| entry.gid).or(number(wanted));
        user.gid = gid.ok_or_else(|| UserError::NoGroup(text(wanted)))?;
    } else if let Some(entry) = entry {
        let member = |group: &Group<'_>| group.members.split(|byte| *byte == b',').any(|m| m == entry.name);
        user.groups.extend(lines(group).filter_map(Group::parse).filter(member).map(|group| group.gid));
    }
    // Docker lists the primary group among the supplementary ones.
    user.groups.insert(0, user.gid);
    let mut seen = std::collections::BTreeSet::new();
    user.groups.retain(|gid| seen.insert(*gid));
    Ok(user)
}

struct Passwd<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl<'a> Passwd<'a> {
    /// `name:password:uid:gid:comment:home:shell` (passwd(5)).
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        Some(Passwd { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl<'a> Group<'a> {
    /// `name:password:gid:member,member` (group(5)).
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let gid = number(fields.nth(1)?)?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').map(|line| line.trim_ascii()).filter(|line| !line.is_empty())
}

fn number(digits: &[u8]) -> Option<u32> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // The kernel's ids are 32 bits of which the last means "no change".
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|id| plain && *id != u32::MAX)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n1234:x:77:78::/odd:/bin/sh\nnohome:x:5:5\n";
    const GROUP: &[u8] =
        b"root:x:0:\ndaemon:x:1:root,app\nwheel:x:10:root\napp:x:1001:app\nvideo:x:44:app,other\n";

    #[test]
    fn users_as_docker_resolves_them() {
        // (--user, uid, gid, groups, home)
        #[rustfmt::skip]
        let cases: &[(&str, u32, u32, &[u32], &str)] = &[
            ("",             0,    0,    &[0, 1, 10],     "/root"),
            ("root",         0,    0,    &[0, 1, 10],     "/root"),
            ("0",            0,    0,    &[0, 1, 10],     "/root"),
            ("app",          1000, 1001, &[1001, 1, 44],  "/home/app"),
            ("1000",         1000, 1001, &[1001, 1, 44],  "/home/app"),
            ("app:video",    1000, 44,   &[44],           "/home/app"),
            ("app:7",        1000, 7,    &[7],            "/home/app"),
            (":10",          0,    10,   &[10],           "/root"),
            ("4000",         4000, 0,    &[0],            "/"),
            ("4000:4001",    4000, 4001, &[4001],         "/"),
            ("1234",         77,   78,   &[78],           "/odd"),
            ("nohome",       5,    5,    &[5],            "/"),
        ];
        for (wanted, uid, gid, groups, home) in cases {
            let expected =
                User { uid: *uid, gid: *gid, groups: groups.to_vec(), home: home.as_bytes().to_vec() };
            assert_eq!(resolve(wanted.as_bytes(), PASSWD, GROUP), Ok(expected), "{wanted}");
        }
        assert_eq!(resolve(b"nobody", PASSWD, GROUP), Err(UserError::NoUser("nobody".into())));
        assert_eq!(resolve(b"app:nogroup", PASSWD, GROUP), Err(UserError::NoGroup("nogroup".into())));
        assert_eq!(resolve(b"4294967295", b"", b""), Err(UserError::NoUser("4294967295".into())));
        assert_eq!(resolve(b"-1", b"", b""), Err(UserError::NoUser("-1".into())));
    }
}
