use super::stream::{CHUNK, SEALED_CHUNK};
use super::*;
use crate::error::{Exit, exit_of};

fn keys() -> (age::x25519::Identity, Recipients, Identities) {
    use age::secrecy::ExposeSecret as _;
    let key = age::x25519::Identity::generate();
    let recipient = Recipient::parse(&key.to_public().to_string()).unwrap();
    let mut identities = Identities::default();
    identities.add_file(key.to_string().expose_secret()).unwrap();
    (key, Recipients::Keys(vec![recipient]), identities)
}

/// Bytes that differ from chunk to chunk.
fn noise(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// Seals `plain`, whose first `head` bytes are only known at the end, in pieces of `piece` bytes.
fn seal(recipients: &Recipients, plain: &[u8], head: usize, piece: usize) -> Vec<u8> {
    let mut sealer = Sealer::new(recipients).unwrap();
    let place = sealer.expect(head).unwrap();
    let mut early = plain.to_vec();
    early[..head].fill(b'?');
    let mut file = Vec::new();
    for piece in early.chunks(piece) {
        file.extend_from_slice(&sealer.push(piece).unwrap());
    }
    let sealed = sealer.finish(&plain[..head]).unwrap();
    file.extend_from_slice(&sealed.last);
    assert!(sealed.head.len() as u64 <= place || head == 0);
    file[..sealed.head.len()].copy_from_slice(&sealed.head);
    file
}

#[test]
fn whatever_the_sizes_age_opens_what_was_sealed() {
    let (key, recipients, identities) = keys();
    for len in [0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
        let plain = noise(len);
        for head in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK]
            .into_iter()
            .filter(|head| *head <= len)
        {
            let file = seal(&recipients, &plain, head, 30_001);
            assert!(age::decrypt(&key, &file).unwrap() == plain, "{len} bytes, head {head}");
            let opener = Opener::new(&file, file.len() as u64, &identities).unwrap().unwrap();
            assert_eq!(opener.plain_len(), len as u64);
        }
    }
}

#[test]
fn any_range_is_opened_without_the_rest() {
    let (_, recipients, identities) = keys();
    let plain = noise(3 * CHUNK + 7);
    let file = seal(&recipients, &plain, 10, CHUNK);
    let opener = Opener::new(&file[..500], file.len() as u64, &identities)
        .unwrap()
        .unwrap();
    let edges = [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        2 * CHUNK,
        3 * CHUNK,
        3 * CHUNK + 6,
        3 * CHUNK + 7,
    ];
    for (start, end) in edges
        .iter()
        .flat_map(|a| edges.iter().map(move |b| (*a, *b)))
        .filter(|(a, b)| a <= b)
    {
        let range = start as u64..end as u64;
        let sealed = opener.sealed(&range).unwrap();
        assert!(
            sealed.end - sealed.start < (end - start + 2 * SEALED_CHUNK) as u64,
            "{range:?} reads {sealed:?}"
        );
        let sealed = &file[sealed.start as usize..sealed.end as usize];
        assert!(opener.open(&range, sealed).unwrap() == plain[start..end], "{range:?}");
    }
    assert!(opener.sealed(&(0..plain.len() as u64 + 1)).is_err());
}

#[test]
fn what_was_changed_moved_or_cut_does_not_open() {
    let (_, recipients, identities) = keys();
    let plain = noise(2 * CHUNK + 100);
    let file = seal(&recipients, &plain, 0, CHUNK);
    let header = file.len() - 2 * SEALED_CHUNK - 116;
    let open = |file: &[u8]| {
        let opener = Opener::new(file, file.len() as u64, &identities)?.ok_or_else(|| anyhow::anyhow!("no key"))?;
        let range = 0..opener.plain_len();
        let sealed = opener.sealed(&range)?;
        opener.open(&range, &file[sealed.start as usize..sealed.end as usize])
    };
    assert!(open(&file).unwrap() == plain);
    for at in (0..header).chain([header, header + CHUNK, file.len() - 1]) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let error = open(&changed).unwrap_err();
        // A stanza that was changed may look like one for another key.
        assert!(
            exit_of(&error) == Exit::Damaged || error.to_string() == "no key",
            "byte {at}: {error:#}"
        );
    }
    let mut swapped = file.clone();
    swapped[header..header + SEALED_CHUNK].copy_from_slice(&file[header + SEALED_CHUNK..header + 2 * SEALED_CHUNK]);
    assert_eq!(exit_of(&open(&swapped).unwrap_err()), Exit::Damaged);
    // Cut where a chunk ends: what is left is whole but for the mark of the last.
    for len in [
        header,
        header + 5,
        header + SEALED_CHUNK,
        header + 2 * SEALED_CHUNK,
        file.len() - 1,
    ] {
        assert_eq!(exit_of(&open(&file[..len]).unwrap_err()), Exit::Damaged, "cut at {len}");
    }
}

#[test]
fn no_two_files_have_the_same_key() {
    let (_, recipients, _) = keys();
    let plain = noise(100);
    let (one, two) = (seal(&recipients, &plain, 0, 100), seal(&recipients, &plain, 0, 100));
    assert!(one[one.len() - 116..] != two[two.len() - 116..]);
}

#[test]
fn a_passphrase_opens_and_another_does_not() {
    let recipients = Recipients::Passphrase("correct horse".to_owned().into());
    let file = seal_text(&recipients, b"hello").unwrap();
    let identities = |passphrase: &str| {
        let mut identities = Identities::default();
        identities.add_passphrase(passphrase.to_owned().into());
        identities
    };
    assert_eq!(
        open_text(&file, &identities("correct horse")).unwrap().unwrap(),
        "hello"
    );
    assert!(open_text(&file, &identities("battery staple")).unwrap().is_none());
    let shown = format!("{recipients:?} {:?}", identities("correct horse"));
    assert!(!shown.contains("horse"), "{shown}");
}

#[test]
fn text_opens_with_any_of_several_keys_and_a_failure_names_both_sides() {
    let (ours, theirs) = (keys(), keys());
    let both = match (&ours.1, &theirs.1) {
        (Recipients::Keys(a), Recipients::Keys(b)) => Recipients::Keys([a.clone(), b.clone()].concat()),
        _ => unreachable!(),
    };
    let text = seal_text(&both, b"hello").unwrap();
    for identities in [&ours.2, &theirs.2] {
        assert_eq!(open_text(&text, identities).unwrap().unwrap(), "hello");
    }
    let stranger = keys();
    assert!(open_text(&text, &stranger.2).unwrap().is_none());
    let message = locked("backup 1", &both.names(), &stranger.2).message;
    for name in [ours.0.to_public(), theirs.0.to_public(), stranger.0.to_public()] {
        assert!(message.contains(&name.to_string()), "{message}");
    }
}

#[test]
fn armor_that_was_changed_is_damage() {
    let (_, recipients, identities) = keys();
    let text = seal_text(&recipients, b"hello").unwrap();
    for changed in [
        text.replace("BEGIN", "BEGUN"),
        text[..text.len() / 2].to_owned(),
        "?".to_owned(),
    ] {
        assert_eq!(exit_of(&open_text(&changed, &identities).unwrap_err()), Exit::Damaged);
    }
}
