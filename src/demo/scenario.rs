//! What stands in the demo fleet: members, repositories, sources and policies of an invented company.

/// Where a simulated member stands.
pub struct MemberPlan {
    pub name: &'static str,
    pub region: &'static str,
    /// Nobody can reach its API server; its own controllers go on.
    pub down: bool,
}

pub const MEMBERS: &[MemberPlan] = &[
    MemberPlan { name: "accra", region: "africa", down: true },
    MemberPlan { name: "lima", region: "america", down: false },
    MemberPlan { name: "oslo", region: "europe", down: false },
    MemberPlan { name: "paris", region: "europe", down: false },
    MemberPlan { name: "tokyo", region: "asia", down: false },
];

/// One repository, and who uses it.
pub struct RepositoryPlan {
    /// As the simulated store knows it.
    pub location: &'static str,
    pub password: &'static str,
    /// What a Secret says of the place; the password is added.
    pub secret: &'static [(&'static str, &'static str)],
    pub uses: &'static [Use],
}

/// A Secret in one namespace of one member, and the sources that name it.
pub struct Use {
    pub member: &'static str,
    pub namespace: &'static str,
    pub secret: &'static str,
    pub sources: &'static [&'static str],
    /// Not the right one: somebody forgot this copy when it was changed.
    pub stale_password: bool,
}

const fn used(
    member: &'static str,
    namespace: &'static str,
    secret: &'static str,
    sources: &'static [&'static str],
) -> Use {
    Use { member, namespace, secret, sources, stale_password: false }
}

const AWS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "demo"), ("AWS_SECRET_ACCESS_KEY", "demo")];

/// Every repository's Secret has these too, whatever its backend: it is the mover that picks what it needs.
pub const EVERYWHERE: &[(&str, &str)] = AWS;

pub const REPOSITORIES: &[RepositoryPlan] = &[
    RepositoryPlan {
        location: "s3 s3.amazonaws.com shop-backups prod/",
        password: "shop",
        secret: &[("KOPIA_REPOSITORY", "s3://shop-backups/prod")],
        uses: &[
            used("paris", "shop", "kopia-shop", &["orders-db", "catalog", "uploads"]),
            used("oslo", "shop-eu", "shop-repository", &["orders-db", "sessions"]),
            used("tokyo", "shop", "backup-config", &["orders-db", "search-index"]),
        ],
    },
    RepositoryPlan {
        location: "s3 minio.example.com:9000 payments",
        password: "payments",
        secret: &[("KOPIA_REPOSITORY", "s3://payments"), ("AWS_S3_ENDPOINT", "https://minio.example.com:9000")],
        uses: &[
            used("paris", "payments", "kopia-payments", &["ledger-db", "receipts"]),
            used("oslo", "payments", "payments-kopia", &["ledger-db"]),
        ],
    },
    RepositoryPlan {
        location: "azure contoso crm",
        password: "crm",
        secret: &[
            ("KOPIA_REPOSITORY", "azure://crm"),
            ("KOPIA_AZURE_CONTAINER", "crm"),
            ("KOPIA_AZURE_STORAGE_ACCOUNT", "contoso"),
            ("KOPIA_AZURE_STORAGE_KEY", "demo"),
        ],
        uses: &[
            used("oslo", "crm", "crm-backup", &["contacts-db", "mail-archive"]),
            used("lima", "crm", "kopia-crm", &["contacts-db"]),
        ],
    },
    RepositoryPlan {
        location: "gcs analytics-lake",
        password: "analytics",
        secret: &[
            ("KOPIA_REPOSITORY", "gcs://analytics-lake"),
            ("KOPIA_GCS_BUCKET", "analytics-lake"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "{\"type\":\"demo\"}"),
        ],
        uses: &[
            used("tokyo", "analytics", "analytics-kopia", &["warehouse", "events"]),
            used("lima", "analytics", "analytics-lake", &["reports"]),
        ],
    },
    RepositoryPlan {
        location: "b2 media-originals",
        password: "media",
        secret: &[
            ("KOPIA_REPOSITORY", "b2://media-originals"),
            ("KOPIA_B2_BUCKET", "media-originals"),
            ("B2_ACCOUNT_ID", "demo"),
            ("B2_APPLICATION_KEY", "demo"),
        ],
        uses: &[
            used("paris", "media", "media-repo", &["photos", "videos"]),
            used("tokyo", "media", "kopia-media", &["photos"]),
            used("lima", "media", "originals", &["videos", "thumbnails"]),
        ],
    },
    RepositoryPlan {
        location: "sftp nas.example.com /srv/archive",
        password: "archive",
        secret: &[
            ("KOPIA_REPOSITORY", "sftp://nas.example.com/srv/archive"),
            ("SFTP_HOST", "nas.example.com"),
            ("SFTP_PATH", "/srv/archive"),
            ("SFTP_USERNAME", "kopia"),
            ("SFTP_KEY_FILE", "demo"),
        ],
        uses: &[used("oslo", "archive", "archive-nas", &["contracts", "scans"])],
    },
    RepositoryPlan {
        location: "webdav https://cloud.example.com/remote.php/backups",
        password: "office",
        secret: &[
            ("KOPIA_REPOSITORY", "webdav://cloud.example.com"),
            ("WEBDAV_URL", "https://cloud.example.com/remote.php/backups"),
            ("WEBDAV_USERNAME", "demo"),
            ("WEBDAV_PASSWORD", "demo"),
        ],
        uses: &[used("paris", "office", "office-webdav", &["documents", "calendars"])],
    },
    RepositoryPlan {
        location: "gdrive 1demoFolder",
        password: "design",
        secret: &[
            ("KOPIA_REPOSITORY", "gdrive://1demoFolder"),
            ("GOOGLE_DRIVE_FOLDER_ID", "1demoFolder"),
            ("GOOGLE_DRIVE_CREDENTIALS", "{\"type\":\"demo\"}"),
        ],
        uses: &[used("tokyo", "design", "design-drive", &["mockups"])],
    },
    // One address, two repositories: a Service is another one in each cluster.
    RepositoryPlan {
        location: "s3 minio.storage.svc:9000 local in paris",
        password: "local",
        secret: &[
            ("KOPIA_REPOSITORY", "s3://local"),
            ("AWS_S3_ENDPOINT", "http://minio.storage.svc:9000"),
            ("AWS_S3_DISABLE_TLS", "true"),
        ],
        uses: &[used("paris", "registry", "local-minio", &["images"])],
    },
    RepositoryPlan {
        location: "s3 minio.storage.svc:9000 local in tokyo",
        password: "local",
        secret: &[
            ("KOPIA_REPOSITORY", "s3://local"),
            ("AWS_S3_ENDPOINT", "http://minio.storage.svc:9000"),
            ("AWS_S3_DISABLE_TLS", "true"),
        ],
        uses: &[used("tokyo", "registry", "local-minio", &["images", "charts"])],
    },
    RepositoryPlan {
        location: "s3 s3.amazonaws.com wiki-backups",
        password: "wiki",
        secret: &[("KOPIA_REPOSITORY", "s3://wiki-backups")],
        uses: &[
            Use { stale_password: true, ..used("lima", "wiki", "wiki-kopia", &["pages"]) },
            used("paris", "wiki", "wiki-repo", &["pages", "attachments"]),
            used("oslo", "wiki", "wiki-kopia", &["pages"]),
        ],
    },
    RepositoryPlan {
        location: "s3 s3.amazonaws.com scratch-space",
        password: "scratch",
        secret: &[("KOPIA_REPOSITORY", "s3://scratch-space")],
        uses: &[
            used("lima", "sandbox", "scratch-kopia", &["tmp-one", "tmp-two"]),
            used("oslo", "sandbox", "scratch", &["tmp-three"]),
        ],
    },
    RepositoryPlan {
        location: "s3 s3.amazonaws.com games-saves",
        password: "games",
        secret: &[("KOPIA_REPOSITORY", "s3://games-saves")],
        uses: &[used("tokyo", "games", "games-kopia", &["saves", "leaderboard"])],
    },
    RepositoryPlan {
        location: "s3 s3.amazonaws.com harbour-logs",
        password: "harbour",
        secret: &[("KOPIA_REPOSITORY", "s3://harbour-logs")],
        uses: &[used("accra", "harbour", "harbour-repo", &["arrivals", "departures"])],
    },
    // Nobody backs up to it any more; a policy names its Secret on the hub.
    RepositoryPlan {
        location: "s3 s3.amazonaws.com old-platform 2019/",
        password: "old",
        secret: &[("KOPIA_REPOSITORY", "s3://old-platform/2019")],
        uses: &[],
    },
];

/// The Secret of the last repository, on the hub.
pub const HUB_SECRET: (&str, &str) = ("backup-system", "old-platform");

/// Namespaces whose label says that they are production.
pub const PRODUCTION: &[&str] = &["payments", "shop", "shop-eu"];

/// What becomes of the repositories that a policy rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Maintained, and each repository has run successfully before the demo ends.
    Run,
    /// Maintained; the next run may be hours away.
    Scheduled,
    /// Opted out.
    Disabled,
    /// Nothing starts: the policy is broken.
    Held,
}

pub struct PolicyPlan {
    pub name: &'static str,
    pub expected: Expected,
    /// What it is there to show.
    pub shows: &'static str,
    /// `spec`, as YAML.
    pub spec: &'static str,
}

pub const POLICIES: &[PolicyPlan] = &[
    PolicyPlan {
        name: "nightly",
        expected: Expected::Scheduled,
        shows: "a default for every repository, at a minute of its own for each",
        spec: "repositorySelector: {repository: '*'}\nschedule: 'H H(1-4) * * *'\ntimeZone: Europe/Paris\n",
    },
    PolicyPlan {
        name: "production",
        expected: Expected::Run,
        shows: "production namespaces, every minute",
        spec: "repositorySelector:\n  repository: '*'\n  namespaceSelector: {matchLabels: {environment: production}}\n\
               schedule: '*/1 * * * *'\npriority: 10\n",
    },
    PolicyPlan {
        name: "wiki-often",
        expected: Expected::Run,
        shows: "one member has a stale password, the next one gets the work",
        spec: "repositorySelector: {repository: 'wiki-*'}\nschedule: '*/1 * * * *'\npriority: 5\n",
    },
    PolicyPlan {
        name: "analytics-weekly",
        expected: Expected::Scheduled,
        shows: "an override with its own schedule and resources",
        spec: "repositorySelector: {repository: 'analytics-*'}\nschedule: '0 3 * * 0'\npriority: 20\n\
               resources: {requests: {memory: 512Mi}, limits: {memory: 2Gi}}\n",
    },
    PolicyPlan {
        name: "no-scratch",
        expected: Expected::Disabled,
        shows: "a repository opted out, under each of its Secret names",
        spec: "repositorySelector: {repository: 'scratch*'}\nenabled: false\npriority: 50\n",
    },
    PolicyPlan {
        name: "games-typo",
        expected: Expected::Held,
        shows: "a schedule that can't be: nothing starts, and nobody else is disturbed",
        spec: "repositorySelector: {repository: 'games-*'}\nschedule: '0 25 * * *'\npriority: 30\n",
    },
    PolicyPlan {
        name: "old-platform",
        expected: Expected::Scheduled,
        shows: "a repository without any source, named by its Secret on the hub",
        spec: "repository: {name: old-platform, namespace: backup-system}\nschedule: '0 4 1 * *'\n\
               clusterSelector: {matchLabels: {region: america}}\n",
    },
];
