//! When two rclone remotes are one.

use super::super::Reach;
use super::{Case, different, same, secret};

fn remote(path: &str, config: &str) -> Case {
    secret(&format!("RCLONE_REMOTE_PATH={path}")).with("RCLONE_CONFIG", config)
}

const S3: &str = "[a]\ntype = s3\nprovider = Minio\nendpoint = https://m.example.com:9000\n\
                  access_key_id = one\nsecret_access_key = hunter2\n";

#[test]
fn names_credentials_order_and_tuning_do_not_matter() {
    let base = remote("a:bk", S3);
    let other = "# mine\n[b]\nsecret_access_key=x\nregion = eu\nendpoint = M.example.com:9000/\nTYPE = s3\n\
                 provider = Other\nchunk_size = 64M\nenv_auth = true\n";
    same(&base, &remote("b:/bk/", other));
    different(&base, &remote("b:bk2", other));
    different(&base, &remote("a:bk", &S3.replace("9000", "9001")));
    different(&base, &remote("a:bk", &S3.replace("type = s3", "type = swift")));
}

#[test]
fn a_remote_made_on_the_spot_is_the_same_as_a_named_one() {
    same(
        &remote("a:bk", S3),
        &secret("RCLONE_REMOTE_PATH=:s3,provider=Minio,endpoint=\"https://m.example.com:9000\":bk"),
    );
    same(&remote("a:bk", S3), &remote("c,endpoint=\"https://m.example.com:9000\":bk", "[c]\ntype=s3\n"));
}

#[test]
fn what_an_alias_points_to_is_the_place() {
    let config = format!("{S3}[al]\ntype = alias\nremote = a:bk/deep\n");
    same(&remote("al:x", &config), &remote("a:bk/deep/x", S3));
}

#[test]
fn a_wrapper_is_known_by_what_it_wraps() {
    let crypt = |inner: &str| {
        format!("{S3}[b]\ntype=s3\nendpoint=n.example.com\n[c]\ntype = crypt\nremote = {inner}\npassword = x\n")
    };
    let renamed = crypt("a:bk").replace("[a]", "[z]").replace("a:bk", "z:bk");
    same(&remote("c:", &crypt("a:bk")), &remote("c:", &renamed));
    different(&remote("c:", &crypt("a:bk")), &remote("c:", &crypt("b:bk")));
    different(&remote("c:", &crypt("a:bk")), &remote("c:", &crypt("a:bk2")));
    different(&remote("c:", &crypt("a:bk")), &remote("a:", &crypt("a:bk")));
}

#[test]
fn circles_and_floods_end() {
    assert_eq!(remote("a:x", "[a]\ntype=alias\nremote=a:y\n").reason(), "InvalidLocation");
    let mut flood = String::new();
    for number in 0..200 {
        flood.extend(["[r", &number.to_string(), "]\ntype=union\nupstreams=", &"r1:a r2:b r3:c ".repeat(20), "\n"]);
    }
    assert_eq!(remote("r0:x", &flood).reason(), "InvalidLocation");
}

#[test]
fn the_user_matters_only_in_a_home_folder() {
    let sftp = |user: &str, path: &str| {
        remote(&format!("a:{path}"), &format!("[a]\ntype=sftp\nhost=h.example.com\nuser={user}\nport=22\n"))
    };
    same(&sftp("one", "/r"), &sftp("two", "/r"));
    assert_ne!(sftp("one", "/r").identity().reading, sftp("two", "/r").identity().reading);
    different(&sftp("one", "r"), &sftp("two", "r"));
    different(&sftp("one", "r"), &sftp("one", "/r"));
}

#[test]
fn amazon_is_amazon() {
    let plain = remote("a:bk", "[a]\ntype=s3\nprovider=AWS\nregion=us-east-1\n");
    same(&plain, &remote("a:bk", "[a]\ntype=s3\nendpoint=s3.eu-west-1.amazonaws.com\n"));
    different(&plain, &remote("a:bk", "[a]\ntype=s3\nprovider=AWS\nregion=cn-north-1\n"));
}

#[test]
fn a_local_endpoint_or_path_holds_for_its_cluster() {
    let local = remote("a:bk", "[a]\ntype=s3\nprovider=Minio\nendpoint=http://minio:9000\n");
    different(&local, &local.clone().on("c2", "n1"));
    same(&local, &remote("a:bk", "[a]\ntype=s3\nendpoint=http://minio.n1.svc:9000\n"));
    assert_eq!(remote("/data", "").identity().reach, Reach::Cluster);
    assert_eq!(remote("a:/data", "[a]\ntype=local\n").backend().unwrap().obstacle(), Some("Filesystem"));
    assert_eq!(remote("a:b", "[a]\ntype=sftp\nhost=localhost\n").reason(), "Loopback");
}

#[test]
fn programs_in_a_configuration_are_refused() {
    for option in [
        "ssh = sh -c x",
        "bearer_token_command = sh",
        "server_command = x",
        "global.config = /x",
        "override.metadata_mapper = sh",
    ] {
        assert_eq!(remote("a:b", &format!("[a]\ntype=sftp\n{option}\n")).reason(), "UnsafeOption", "{option}");
        let wrapped = format!("[c]\ntype=crypt\nremote=a:b\n[a]\ntype=sftp\n{option}\n");
        assert_eq!(remote("c:", &wrapped).reason(), "UnsafeOption", "{option}");
    }
    assert_eq!(secret("RCLONE_REMOTE_PATH=--config=/x").reason(), "UnsafeOption");
    assert_eq!(secret("RCLONE_REMOTE_PATH=:webdav,bearer_token_command=sh:x").reason(), "UnsafeOption");
    assert!(remote("a:b", "[a]\ntype=sftp\nhost=h.example.com\nmd5sum_command=md5sum\n").try_identity().is_ok());
}

#[test]
fn an_encrypted_or_empty_configuration_says_nothing() {
    for config in ["RCLONE_ENCRYPT_V0:\nabc", "", "[other]\ntype=s3"] {
        let case = remote("a:bk", config);
        same(&case, &secret("RCLONE_REMOTE_PATH=b:bk"));
        assert!(case.identity().ambiguous);
        assert_eq!(case.identity().reach, Reach::Cluster);
    }
}

#[test]
fn facts_keep_no_credential_of_a_configuration() {
    let case = remote("a,secret_access_key=hunter2:bk", S3);
    assert!(!format!("{:?}", case.facts()).contains("hunter2"));
    assert!(!format!("{:?}", case.backend()).contains("hunter2"));
}

#[test]
fn what_a_configuration_says_is_shown_only_where_it_can_be_a_type_and_a_path() {
    for kind in ["s3\u{8}x", &"x".repeat(5000)] {
        let case = remote("a:bk", &format!("[a]\ntype = {kind}\n"));
        assert!(case.location().starts_with("rclone://unknown-"), "{}", case.location());
        different(&case, &remote("a:bk", "[a]\ntype = unknown\n"));
    }
    for path in ["b\u{8}", &"x".repeat(5000)] {
        let location = remote("al:x", &format!("{S3}[al]\ntype = alias\nremote = a:{path}\n")).location();
        assert!(!location.contains(char::is_control) && location.len() < 200, "{location}");
    }
}

#[test]
fn a_place_in_a_configuration_is_shown_as_short_text_whatever_it_holds() {
    let alias = |target: &str| {
        let endpoint = "[s]\ntype = s3\nprovider = Minio\nendpoint = https://m.example.com\n";
        remote("r:x", &format!("[r]\ntype = alias\nremote = {target}\n{endpoint}")).identity()
    };
    let control = alias("s:a\u{0}\u{1b}[31mb");
    assert!(!control.location.contains(char::is_control), "{:?}", control.location);
    assert_ne!(control.key, alias("s:ab").key, "the key takes what stands there");
    assert!(alias(&format!("s:{}", "long/".repeat(4000))).location.chars().count() < 3100);
}
