//! When credentials end: the `exp` of a token that is a JWT, the `notAfter` of a client certificate.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;

/// The earlier of both; none where neither can be read, as with opaque tokens.
pub fn of(user: &AuthInfo) -> Option<Timestamp> {
    let token = user.token.as_ref().and_then(|token| of_token(token.expose_secret()));
    let pem = user.client_certificate_data.as_ref().and_then(|data| STANDARD.decode(data.trim()).ok());
    let certificate = pem.and_then(|pem| CertificateDer::from_pem_slice(&pem).ok()).and_then(|der| not_after(&der));
    token.into_iter().chain(certificate).min()
}

fn of_token(token: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: Option<f64>,
    }
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "seconds; a value out of range is refused by the next call")]
    Timestamp::from_second(claims.exp? as i64).ok()
}

/// Walks a certificate in DER: `Certificate > TBSCertificate > validity > notAfter`.
fn not_after(der: &[u8]) -> Option<Timestamp> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (SEQUENCE, certificate, _) = element(der)? else { return None };
    let (SEQUENCE, body, _) = element(certificate)? else { return None };
    let (tag, _, mut rest) = element(body)?;
    if tag == VERSION {
        rest = element(rest)?.2;
    }
    // The serial number was read above; signature algorithm and issuer stand before validity.
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    time_of(tag, std::str::from_utf8(time).ok()?)
}

/// `UTCTime` has two digits of the year, `GeneralizedTime` four.
fn time_of(tag: u8, text: &str) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = match tag {
        UTC_TIME if text.starts_with(|digit: char| digit >= '5') => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Tag, contents and what follows of the first DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // More than four bytes of length is no certificate.
        let count = usize::from(first & 0x7f);
        let (bytes, rest) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use secrecy::SecretString;

    #[test]
    fn a_service_account_tokens_end_is_read() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"exp":1800000000,"sub":"x"}"#);
        let user = AuthInfo { token: Some(SecretString::from(format!("e30.{payload}.sig"))), ..AuthInfo::default() };
        assert_eq!(of(&user), Some("2027-01-15T08:00:00Z".parse().unwrap()));
    }

    #[test]
    fn opaque_tokens_have_no_end_and_do_no_harm() {
        for token in ["abcdef.0123456789abcdef", "", "a.b.c", "..", "e30.e30.e30", "e30.eyJleHAiOiJ4In0.x"] {
            let user = AuthInfo { token: Some(SecretString::from(token)), ..AuthInfo::default() };
            assert_eq!(of(&user), None, "{token:?}");
        }
    }

    #[test]
    fn broken_certificates_have_no_end_and_do_no_harm() {
        for der in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"\x30\x03\x30\x01\x02", &[0x30; 64]] {
            assert_eq!(not_after(der), None);
        }
    }

    #[cfg(feature = "sim")]
    #[test]
    fn a_client_certificates_end_is_read() {
        for (year, end) in [(2031, "2031-02-03T00:00:00Z"), (2061, "2061-02-03T00:00:00Z")] {
            let mut parameters = rcgen::CertificateParams::new(vec!["hub".to_owned()]).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, 2, 3);
            let key = rcgen::KeyPair::generate().unwrap();
            let pem = parameters.self_signed(&key).unwrap().pem();
            let user = AuthInfo { client_certificate_data: Some(STANDARD.encode(pem)), ..AuthInfo::default() };
            assert_eq!(of(&user), Some(end.parse().unwrap()));
        }
    }
}
