//! Whether a server has what was sent, by its own word: then nothing needs to be read back.
//!
//! Servers with checksums say at HEAD the SHA-256 of the parts that they made the object of. Of nearly all others the ETag
//! is the MD5 of an object, or of the MD5s of its parts. It counts only where the answer to each part was its MD5 too: with
//! a key of KMS an ETag looks the same and is something else.

use super::checksum::{Algorithm, Sum};
use super::found::Found;

/// What is known of an object that was sent.
#[derive(Default)]
pub struct Sent {
    /// Our SHA-256 of an object that was put in one request, in hex: what its metadata say.
    pub digest: Option<String>,
    /// What the server says of the object if it has it.
    whole: Option<(Algorithm, String)>,
    /// The server said so when it took the object.
    confirmed: bool,
}

impl Sent {
    /// Of an object in one request.
    pub fn at_once(digest: String, algorithm: Algorithm, sum: &Sum) -> Self {
        Sent {
            digest: Some(digest),
            whole: Some((algorithm, sum.text())),
            confirmed: false,
        }
    }

    /// Of an object in parts, each with its sum and what the server answered.
    pub fn in_parts<'a>(
        algorithm: Algorithm,
        parts: impl ExactSizeIterator<Item = (&'a Sum, Option<&'a str>)> + Clone,
    ) -> Self {
        let believed = match algorithm {
            Algorithm::Sha256 => true,
            Algorithm::Md5 => parts.clone().all(|(sum, e_tag)| is(e_tag, &sum.text())),
        };
        let whole = || (algorithm, algorithm.composite(parts.map(|(sum, _)| sum)));
        Sent {
            digest: None,
            whole: believed.then(whole),
            confirmed: false,
        }
    }

    /// With the ETag that the server gave the object when it was complete.
    pub fn answered(mut self, e_tag: Option<&str>) -> Self {
        self.confirmed = matches!(&self.whole, Some((Algorithm::Md5, whole)) if is(e_tag, whole));
        self
    }

    /// Whether the server has shown that `found` is what was sent.
    pub fn is_shown_by(&self, found: &Found) -> bool {
        match &self.whole {
            Some((Algorithm::Sha256, whole)) => found.checksum.as_ref() == Some(whole),
            Some((Algorithm::Md5, whole)) => self.confirmed || found.meta.checksum.as_ref() == Some(whole),
            None => false,
        }
    }

    /// What differs between `found` and what was sent.
    pub fn differs(&self, found: &Found) -> Option<&'static str> {
        let other = |ours: Option<&String>, theirs: &Option<String>| {
            ours.is_some_and(|ours| theirs.as_ref().is_some_and(|theirs| theirs != ours))
        };
        let sha256 = match &self.whole {
            Some((Algorithm::Sha256, whole)) => Some(whole),
            _ => None,
        };
        if other(self.digest.as_ref(), &found.digest) {
            Some("has another digest in its metadata than what was sent")
        } else if other(sha256, &found.checksum) {
            Some("has another checksum than what was sent")
        } else {
            None
        }
    }
}

/// Whether an ETag is this text.
fn is(e_tag: Option<&str>, text: &str) -> bool {
    e_tag.and_then(strong) == Some(text)
}

/// What an ETag says, without its quotes; nothing where it is a weak one, which other content may have too.
pub fn strong(e_tag: &str) -> Option<&str> {
    let said = e_tag.trim_matches('"');
    (!said.is_empty() && !said.starts_with("W/")).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::super::super::ObjectMeta;
    use super::*;

    /// What a server says at HEAD.
    fn found(e_tag: &str, checksum: Option<&str>) -> Found {
        Found {
            meta: ObjectMeta {
                path: "job/object".into(),
                size: 2,
                modified: chrono::DateTime::UNIX_EPOCH,
                checksum: strong(e_tag).map(str::to_owned),
            },
            stamp: None,
            digest: None,
            checksum: checksum.map(str::to_owned),
            lock: None,
        }
    }

    #[test]
    fn only_the_servers_own_word_is_a_proof() {
        let sums = [Algorithm::Md5.sum(b"a"), Algorithm::Md5.sum(b"b")];
        let texts = sums.clone().map(|sum| format!("\"{}\"", sum.text()));
        let whole = Algorithm::Md5.composite(sums.iter());
        let sent = |tags: [&str; 2]| {
            let parts: Vec<_> = sums.iter().zip(tags.map(Some)).collect();
            Sent::in_parts(Algorithm::Md5, parts.into_iter())
        };
        let good = || sent([&texts[0], &texts[1]]);
        assert!(good().is_shown_by(&found(&whole, None)));
        // rclone says it once, when the object is complete; at HEAD it says the MD5 of the whole.
        assert!(
            good()
                .answered(Some(&format!("\"{whole}\"")))
                .is_shown_by(&found("\"x\"", None))
        );
        // Anything else must be read back.
        assert!(!good().answered(Some("\"x\"")).is_shown_by(&found("\"x\"", None)));
        assert!(!good().answered(None).is_shown_by(&found("", None)));
        let opaque = sent([&texts[0], "\"0123456789abcdef0123456789abcdef\""]);
        assert!(!opaque.answered(Some(&whole)).is_shown_by(&found(&whole, None)));
        assert!(!Sent::default().is_shown_by(&found(&whole, None)));
    }

    #[test]
    fn another_sha256_is_damage_and_none_proves_nothing() {
        let sums = [Algorithm::Sha256.sum(b"a"), Algorithm::Sha256.sum(b"b")];
        let whole = Algorithm::Sha256.composite(sums.iter());
        let sent = Sent::in_parts(Algorithm::Sha256, sums.iter().map(|sum| (sum, None)));
        let (same, other, none) = (found("x", Some(&whole)), found("x", Some("y")), found("x", None));
        assert!(sent.is_shown_by(&same) && sent.differs(&same).is_none());
        assert!(!sent.is_shown_by(&other) && sent.differs(&other).is_some());
        assert!(!sent.is_shown_by(&none) && sent.differs(&none).is_none());
    }

    #[test]
    fn weak_etags_say_nothing() {
        assert_eq!(strong("\"abc-2\""), Some("abc-2"));
        assert_eq!((strong("W/\"abc\""), strong("\"\"")), (None, None));
    }
}
