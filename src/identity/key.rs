//! From a typed place to the key: one canonical tuple for every spelling of it.

use super::address::{Address, Host, host_port};
use super::facts::hashed;
use super::path::{clean, collapsed, decode_unreserved, normal_prefix};
use super::rclone::Meaning;
use super::scope::{Placed, place, place_for_node, resolve_alias};
use super::storage::{Azure, Bucket, Filesystem, Rclone, S3, SFTP_PORT, Sftp, Storage, Volume, WebDav};
use super::well_known::{Store, store};
use super::{Backend, Identity, IdentityProblem, Notes, Reach, Reading, Scope};
use crate::names::RepositoryKey;

/// Characters of a location that are shown: more than stores take.
const SHOWN_MAX: usize = 3000;

/// An identity under construction. The location is made from the same values as the key.
struct Draft {
    backend: &'static str,
    tuple: Vec<String>,
    location: String,
    reach: Reach,
    notes: Notes,
    reading: Reading,
}

impl Draft {
    fn new(backend: &'static str, tuple: &[&str], location: String) -> Self {
        Self {
            backend,
            tuple: tuple.iter().map(|part| (*part).to_owned()).collect(),
            location,
            reach: Reach::Shared,
            notes: Notes::default(),
            reading: Reading::default(),
        }
    }

    /// The place holds only as far as its host does.
    fn at(mut self, placed: &Placed) -> Self {
        self.reach = placed.reach;
        if let Some(doubt) = &placed.doubt {
            self.notes.doubt(doubt.as_str());
        }
        self
    }

    fn within(mut self, reach: Reach) -> Self {
        self.reach = self.reach.max(reach);
        self
    }
}

impl Backend {
    /// Who the repository is, for a source (or a Secret of the hub) in this scope.
    pub fn identity(&self, scope: &Scope<'_>) -> Result<Identity, IdentityProblem> {
        let mut draft = match &self.storage {
            Storage::S3(s3) => of_s3(s3, scope)?,
            Storage::Azure(azure) => of_azure(azure),
            Storage::Gcs(bucket) => of_bucket("gcs", bucket),
            Storage::B2(bucket) => of_bucket("b2", bucket),
            Storage::WebDav(webdav) => Draft { reading: self.user, ..of_webdav(webdav, scope)? },
            Storage::Sftp(sftp) => of_sftp(sftp, scope)?,
            Storage::Rclone(rclone) => of_rclone(rclone, scope)?,
            Storage::GoogleDrive { folder } => Draft::new("gdrive", &["gdrive", folder], format!("gdrive://{folder}")),
            Storage::Filesystem(filesystem) => of_filesystem(filesystem, scope)?,
            Storage::Unknown { digest } => {
                Draft::new("unknown", &["unknown", digest], format!("unknown://{digest}")).within(Reach::Cluster)
            }
        };
        let mut notes = self.notes.clone();
        notes.extend(&draft.notes);
        if !self.keys.contains("KOPIA_PASSWORD") {
            notes.warn("MissingKey: the Secret has no KOPIA_PASSWORD, so nothing can run with it");
        }
        draft.location = shown(&draft.location);
        if draft.reach != Reach::Shared {
            draft.tuple.extend(["cluster".to_owned(), scope.member.to_string()]);
            draft.location.push_str(" in cluster ");
            draft.location.push_str(scope.member.as_str());
        }
        Ok(Identity {
            key: RepositoryKey::of_tuple(draft.tuple.iter().map(String::as_str)),
            backend: draft.backend,
            location: draft.location,
            reach: draft.reach,
            ambiguous: !notes.doubts.is_empty(),
            warnings: notes.doubts.into_iter().chain(notes.warnings).collect(),
            reading: draft.reading,
        })
    }
}

/// The prefix as the mover would write it; another spelling is a doubt, for kopia takes it as it stands.
fn prefix(text: &str, notes: &mut Notes) -> String {
    let normal = normal_prefix(text);
    if normal != text {
        notes.doubt(
            "the prefix does not end in one slash: kopia puts it right before the names of its objects, \
             and it is taken for the folder of that name",
        );
    }
    normal
}

fn of_s3(s3: &S3, scope: &Scope<'_>) -> Result<Draft, IdentityProblem> {
    let mut notes = Notes::default();
    let prefix = prefix(&s3.prefix, &mut notes);
    let defaults: &[u16] = if s3.disable_tls { &[443, 80] } else { &[443] };
    let address = resolve_alias(&s3.endpoint, scope, defaults);
    let parts = [&*s3.bucket, prefix.as_str()];
    let mut draft = match store(&address.host, s3.region.as_deref()) {
        Some(Store::Aws { partition, says_s3 }) => {
            if !says_s3 {
                notes.doubt(format!("{} is taken as Amazon's S3", address.host));
            }
            if store(&address.host, None) != store(&address.host, s3.region.as_deref()) {
                notes.doubt("the region, not the endpoint, says which of Amazon's partitions this is");
            }
            Draft::new("s3", &[partition, parts[0], parts[1]], format!("s3://{}/{prefix} at {partition}", s3.bucket))
        }
        Some(Store::Google) => of_bucket("gcs", &Bucket { bucket: s3.bucket.clone(), prefix: prefix.into() }),
        Some(Store::Backblaze) => of_bucket("b2", &Bucket { bucket: s3.bucket.clone(), prefix: prefix.into() }),
        None => {
            let placed = place(&address.host, scope, "the S3 endpoint")?;
            let at = host_port(&placed.host, address.port);
            if address.port.is_none() {
                if s3.disable_tls {
                    notes.doubt(format!("{at} without TLS is taken as the same store as with TLS"));
                }
                notes_ascii(&address.host, &mut notes);
            }
            let location = format!("s3://{}/{prefix} at {at}", s3.bucket);
            let reading = Reading(hashed(b"tls", &[u8::from(s3.disable_tls && address.port.is_none())]));
            Draft { reading, ..Draft::new("s3", &["s3", &at, parts[0], parts[1]], location) }.at(&placed)
        }
    };
    draft.notes.extend(&notes);
    Ok(draft)
}

/// One name has two spellings there.
fn notes_ascii(host: &Host, notes: &mut Notes) {
    if !host.to_string().is_ascii() {
        notes.doubt("the host is not in ASCII; its encoded form is taken as another host");
    }
}

fn of_azure(azure: &Azure) -> Draft {
    let mut notes = Notes::default();
    let prefix = prefix(&azure.prefix, &mut notes);
    let (account, container) = (azure.account.to_lowercase(), azure.container.to_lowercase());
    let mut tuple = vec!["azure", &account, &container, &prefix];
    let mut location = format!("azure://{account}/{container}/{prefix}");
    if let Some(domain) = &azure.domain {
        tuple.push(domain);
        location = format!("{location} at {domain}");
    }
    Draft { notes, ..Draft::new("azure", &tuple, location) }
}

fn of_bucket(backend: &'static str, bucket: &Bucket) -> Draft {
    let mut notes = Notes::default();
    let prefix = prefix(&bucket.prefix, &mut notes);
    let location = format!("{backend}://{}/{prefix}", bucket.bucket);
    Draft { notes, ..Draft::new(backend, &[backend, &bucket.bucket, &prefix], location) }
}

fn of_webdav(webdav: &WebDav, scope: &Scope<'_>) -> Result<Draft, IdentityProblem> {
    let defaults: &[u16] = if webdav.https { &[443] } else { &[443, 80] };
    let address = resolve_alias(&webdav.address, scope, defaults);
    let placed = place(&address.host, scope, "WEBDAV_URL")?;
    let at = host_port(&placed.host, address.port);
    let cleaned = clean(&collapsed(&decode_unreserved(&format!("/{}", webdav.path))));
    let path = cleaned.path.trim_end_matches('/');
    let mut draft = Draft::new("webdav", &["webdav", &at, path], format!("webdav://{at}{path}")).at(&placed);
    notes_ascii(&address.host, &mut draft.notes);
    Ok(draft)
}

fn of_sftp(sftp: &Sftp, scope: &Scope<'_>) -> Result<Draft, IdentityProblem> {
    let named = Address { host: sftp.host.clone(), port: Some(sftp.port) };
    let address = resolve_alias(&named, scope, &[SFTP_PORT]);
    let placed = place(&address.host, scope, "SFTP_HOST")?;
    let at = host_port(&placed.host, Some(address.port.unwrap_or(SFTP_PORT)));
    let cleaned = clean(&sftp.path);
    let path = cleaned.path.as_str();
    let mut draft = if path.starts_with('/') {
        let reading = Reading(hashed(b"user", sftp.user.as_bytes()));
        Draft { reading, ..Draft::new("sftp", &["sftp", &at, path], format!("sftp://{at}{path}")) }
    } else {
        let location = format!("sftp://{}@{at}/~/{path}", sftp.user);
        Draft::new("sftp", &["sftp", &at, path, &sftp.user], location)
    }
    .at(&placed);
    note_climbing(cleaned.climbs, &mut draft.notes);
    if sftp.path.is_empty() {
        draft.notes.warn("SFTP_PATH is missing: kopia takes the user's own folder");
    }
    Ok(draft)
}

fn note_climbing(climbs: bool, notes: &mut Notes) {
    if climbs {
        notes.doubt("the path has .. in it, which a symbolic link can lead elsewhere");
    }
}

fn of_rclone(rclone: &Rclone, scope: &Scope<'_>) -> Result<Draft, IdentityProblem> {
    let remote = &rclone.remote;
    let Some(meaning) = &remote.meaning else {
        let path = clean(remote.path.trim_start_matches('/')).path;
        let mut draft =
            Draft::new("rclone", &["rclone", "", &path], format!("rclone://?/{path}")).within(Reach::Cluster);
        draft.notes.doubt(
            "nothing in RCLONE_CONFIG says what the rclone remote is, or it is encrypted; it is taken as one remote \
             per cluster",
        );
        return Ok(draft);
    };
    let whole =
        if meaning.base.is_empty() { remote.path.to_string() } else { format!("{}/{}", meaning.base, remote.path) };
    let rooted = whole.starts_with('/');
    let cleaned = clean(&whole);
    // Only where there is a home folder or a file system does a slash in front mean something.
    let keeps_root = rooted && (meaning.has_home || meaning.local);
    let path = if keeps_root { cleaned.path.as_str() } else { cleaned.path.trim_start_matches('/') };
    let placed = match &meaning.address {
        Some(address) => Some((address, place(&resolve_alias(address, scope, &[]).host, scope, "the rclone remote")?)),
        None => None,
    };
    let at = placed.as_ref().map(|(address, placed)| {
        let port = resolve_alias(address, scope, &[]).port;
        format!("{}/{}", host_port(&placed.host, port), meaning.address_path)
    });
    let mut draft = rclone_draft(meaning, at.as_deref().unwrap_or_default(), path, rooted);
    if let Some((_, placed)) = &placed {
        draft = draft.at(placed);
    }
    note_climbing(cleaned.climbs, &mut draft.notes);
    if meaning.local {
        draft = draft.within(Reach::Cluster);
        draft.notes.doubt("the rclone remote is the mover's own file system");
    }
    Ok(draft)
}

/// What a configuration file calls a place may be anything; on screens it is short, and text.
fn shown(location: &str) -> String {
    let printable = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    let mut shown: String = location.chars().take(SHOWN_MAX).map(printable).collect();
    if location.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn rclone_draft(meaning: &Meaning, at: &str, path: &str, rooted: bool) -> Draft {
    let mut tuple = vec!["rclone", &meaning.digest, at, path];
    let user = meaning.user.as_deref().unwrap_or_default();
    let in_home = meaning.has_home && !rooted;
    if in_home {
        tuple.push(user);
    }
    let short = meaning.digest.get(..8).unwrap_or_default();
    let location = format!("rclone://{}-{short}/{}", meaning.kind, path.trim_start_matches('/'));
    let location = if at.is_empty() { location } else { format!("{location} at {}", at.trim_end_matches('/')) };
    let reading = if in_home { Reading::default() } else { Reading(hashed(b"user", user.as_bytes())) };
    Draft { reading, ..Draft::new("rclone", &tuple, location) }
}

fn of_filesystem(filesystem: &Filesystem, scope: &Scope<'_>) -> Result<Draft, IdentityProblem> {
    let cleaned = clean(&filesystem.path);
    let path = cleaned.path.as_str();
    let mut draft = match &filesystem.volume {
        Some(Volume::Claim { claim, below }) => {
            let location = format!("filesystem:///{below} on claim {}/{claim}", scope.namespace);
            Draft::new("filesystem", &["fs-claim", scope.namespace, claim, below], location).within(Reach::Namespace)
        }
        Some(Volume::Nfs { server, path }) => {
            let placed = place_for_node(server, scope, "the NFS server in moverVolumes")?;
            let location = format!("nfs://{}{path}", host_port(&placed.host, None));
            Draft::new("nfs", &["nfs", &placed.host, path], location).at(&placed)
        }
        None => {
            let mut draft =
                Draft::new("filesystem", &["fs", path], format!("filesystem://{path}")).within(Reach::Cluster);
            draft
                .notes
                .doubt("no volume of the source is known to be mounted at this path; it is taken as one per cluster");
            draft
        }
    };
    note_climbing(cleaned.climbs, &mut draft.notes);
    Ok(draft)
}
