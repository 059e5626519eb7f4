//! Password hashes, the rule for new passwords, and one-time passwords.
//!
//! Stored form, after the PHC string format:
//! `$pbkdf2-sm3$i=<rounds>,l=32$<salt>$<hash>`, salt and hash in base64 without padding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::crypto::{pbkdf2_sm3, random, same};

/// Bounds the work that a caller can ask for, and that a changed database row can ask for.
const LONGEST: usize = 256;
const MOST_ROUNDS: u32 = 10_000_000;

/// Why a new password is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasswordFault {
    #[error("the new password needs at least 10 characters")]
    Short,
    #[error("the new password has more than 256 bytes")]
    Long,
    #[error("the new password needs three of: lower-case letters, capitals, digits, other characters")]
    Plain,
    #[error("the new password contains the account")]
    Account,
    #[error("the new password is the old one")]
    Unchanged,
}

/// The rule for new passwords: at least 10 characters, three of four classes, not the account.
pub fn check_new_password(account: &str, password: &str) -> Result<(), PasswordFault> {
    if password.chars().count() < 10 {
        return Err(PasswordFault::Short);
    }
    if password.len() > LONGEST {
        return Err(PasswordFault::Long);
    }
    let has = |class: fn(char) -> bool| usize::from(password.chars().any(class));
    let classes = has(char::is_lowercase)
        + has(char::is_uppercase)
        + has(|c| c.is_ascii_digit())
        + has(|c| !c.is_lowercase() && !c.is_uppercase() && !c.is_ascii_digit());
    if classes < 3 {
        return Err(PasswordFault::Plain);
    }
    if !account.is_empty() && password.to_lowercase().contains(&account.to_lowercase()) {
        return Err(PasswordFault::Account);
    }
    Ok(())
}

/// A password to be used once: 16 characters that are hard to confuse, about 90 bits.
pub fn one_time_password() -> String {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    loop {
        // Bytes above the largest multiple of the alphabet would favour its first letters.
        let fair = 256 - 256 % LETTERS.len();
        let password: String = random::<64>()
            .into_iter()
            .filter(|byte| usize::from(*byte) < fair)
            .filter_map(|byte| LETTERS.get(usize::from(byte) % LETTERS.len()).copied())
            .take(16)
            .map(char::from)
            .collect();
        if password.len() == 16 && check_new_password("", &password).is_ok() {
            return password;
        }
    }
}

/// Slow; call it off the async threads.
pub(super) fn hash(password: &str, rounds: u32) -> String {
    let salt = random::<16>();
    stored(rounds, &salt, &pbkdf2_sm3(password.as_bytes(), &salt, rounds))
}

/// A hash that no password matches but that takes as long to verify as any other.
pub(super) fn decoy(rounds: u32) -> String {
    stored(rounds, &random::<16>(), &random::<32>())
}

fn stored(rounds: u32, salt: &[u8], hash: &[u8]) -> String {
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    format!("$pbkdf2-sm3$i={rounds},l=32${salt}${hash}")
}

/// Slow; call it off the async threads. The error says what is wrong with the stored text.
pub(super) fn verify(password: &str, stored: &str) -> Result<bool, &'static str> {
    let (rounds, salt, hash) = parse(stored)?;
    // Nobody has a longer password, and hashing it first would cost what the caller likes.
    let within = password.len() <= LONGEST;
    let tried = pbkdf2_sm3(if within { password.as_bytes() } else { b"" }, &salt, rounds);
    Ok(same(&tried, &hash) && within)
}

/// Whether the hash was made with other rounds than are configured now.
pub(super) fn is_outdated(stored: &str, rounds: u32) -> bool {
    parse(stored).map_or(true, |(used, ..)| used != rounds)
}

fn parse(stored: &str) -> Result<(u32, Vec<u8>, Vec<u8>), &'static str> {
    let rest = stored.strip_prefix("$pbkdf2-sm3$i=").ok_or("it is not of the kind pbkdf2-sm3")?;
    let mut parts = rest.split('$');
    let mut next = || parts.next().ok_or("a part is missing");
    let (rounds, salt, hash) = (next()?, next()?, next()?);
    let rounds = rounds
        .strip_suffix(",l=32")
        .and_then(|rounds| rounds.parse().ok())
        .filter(|rounds| (1..=MOST_ROUNDS).contains(rounds))
        .ok_or("the rounds or the length are out of range")?;
    let bytes = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| "a part is not base64");
    let (salt, hash) = (bytes(salt)?, bytes(hash)?);
    if hash.len() != 32 || parts.next().is_some() {
        return Err("it has the wrong length");
    }
    Ok((rounds, salt, hash))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let stored = hash("Correct-Horse-1", 10);
        assert!(verify("Correct-Horse-1", &stored).unwrap());
        assert!(!verify("Correct-Horse-2", &stored).unwrap());
        assert!(!verify("", &stored).unwrap());
        assert!(!verify("", &hash("", 10).replace("i=10", "i=11")).unwrap());
    }

    #[test]
    fn a_monstrous_password_matches_nothing() {
        assert!(!verify(&"x".repeat(10_000), &hash("", 10)).unwrap());
    }

    #[test]
    fn one_password_has_many_hashes() {
        assert_ne!(hash("Correct-Horse-1", 10), hash("Correct-Horse-1", 10));
    }

    #[test]
    fn rounds_that_changed_are_noticed() {
        assert!(is_outdated(&hash("x", 10), 11));
        assert!(!is_outdated(&hash("x", 10), 10));
    }

    #[test]
    fn the_rule_for_new_passwords() {
        for (password, answer) in [
            ("Aa1-Aa1-A", Err(PasswordFault::Short)),
            ("aaaaaaaaaa1", Err(PasswordFault::Plain)),
            ("Aaaaaaaaaa1", Ok(())),
            ("My-Wang-Password", Err(PasswordFault::Account)),
            ("密码密码密码密码aA", Ok(())),
        ] {
            assert_eq!(check_new_password("wang", password), answer, "{password}");
        }
        let long = format!("Aa1{}", "x".repeat(300));
        assert_eq!(check_new_password("wang", &long), Err(PasswordFault::Long));
    }

    #[test]
    fn one_time_passwords_pass_the_rule_and_differ() {
        let (a, b) = (one_time_password(), one_time_password());
        assert_ne!(a, b);
        assert_eq!(check_new_password("admin", &a), Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_damaged_hash_is_an_error_or_no_match(
            at in any::<prop::sample::Index>(), with in any::<char>(),
        ) {
            let stored = hash("Correct-Horse-1", 5);
            let mut text: Vec<char> = stored.chars().collect();
            let at = at.index(text.len());
            let cut: String = text[..at].iter().collect();
            prop_assert!(verify("Correct-Horse-1", &cut).is_err());
            // Keep the rounds small: a digit put there is a legitimate, slow, other number.
            prop_assume!(!with.is_ascii_digit());
            let before = text[at];
            text[at] = with;
            let changed: String = text.iter().collect();
            if before != with {
                prop_assert!(!verify("Correct-Horse-1", &changed).unwrap_or(false));
            }
        }
    }
}
