//! The examples of `kubeconfigs-example/` and the commands of its page.

use kube::config::Kubeconfig;
use secrecy::ExposeSecret;

use crate::harness::fleet::{Fleet, KUBECONFIG_PAGE};
use crate::harness::{self, Fail, readme, repository};

/// What a usable credential would stand in.
const PLACEHOLDERS: [&str; 2] = ["REPLACE-WITH-A-TOKEN", "REPLACE-WITH-A-RANCHER-TOKEN"];

#[test]
fn every_example_parses_and_holds_no_credential() -> Result<(), Fail> {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("kubeconfigs-example"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path)?;
        let config = Kubeconfig::from_yaml(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let context = config.current_context.ok_or("no current context")?;
        let context = config.contexts.iter().find(|one| one.name == context).ok_or("no such context")?;
        let context = context.context.as_ref().ok_or("an empty context")?;
        assert!(config.clusters.iter().any(|cluster| cluster.name == context.cluster), "{}", path.display());
        for user in config.auth_infos {
            assert_eq!(Some(&user.name), context.user.as_ref());
            let user = user.auth_info.ok_or("an empty user")?;
            assert!(user.client_key_data.is_none() && user.password.is_none(), "{}", path.display());
            let token = user.token.as_ref().map(ExposeSecret::expose_secret);
            assert!(token.is_none_or(|token| PLACEHOLDERS.contains(&token)), "{}", path.display());
        }
    }
    assert_eq!(seen, 5);
    Ok(())
}

#[test]
fn the_pages_other_commands_make_working_kubeconfigs_too() -> Result<(), Fail> {
    harness::run(async {
        let fleet = Fleet::shared().await?;
        let member = fleet.member("member-a")?;
        let file = fleet.dir.join("by-secret.yaml");
        let file = file.to_string_lossy();
        let variables = [("MEMBER", "by-secret"), ("FILE", file.as_ref())];
        let blocks = ["long-token", "kubeconfig", "check"].map(|name| readme::block(KUBECONFIG_PAGE, name));
        let script = blocks.into_iter().collect::<Result<Vec<_>, _>>()?.join("\n");
        let said = member.shell.bash(&script, &variables).await?.ok()?;
        let answers: Vec<_> = said.lines().filter(|line| matches!(*line, "yes" | "no")).collect();
        assert_eq!(answers, ["yes", "yes", "no", "no"]);
        // The label would hand it to a hub that other tests run: another name keeps it out of their way.
        let register = readme::block(KUBECONFIG_PAGE, "register-secret")?.replace("member=true", "member=no");
        fleet.hub.shell.bash(&register, &variables).await?.ok()?;
        let kept = fleet.hub.shell.value("secret -n volsync-system by-secret", "{.data.kubeconfig}").await?;
        assert_eq!(kept, harness::control_plane::base64(&std::fs::read_to_string(file.as_ref())?));
        for member in ["dir-a", "dir-b"] {
            let variables = [("MEMBER", member), ("FILE", file.as_ref())];
            let register = readme::block(KUBECONFIG_PAGE, "register-directory")?;
            fleet.hub.shell.bash(&register, &variables).await?.ok()?;
        }
        let keys = fleet.hub.shell.value("secret -n volsync-system volsync-hub-kubeconfigs", "{.data}").await?;
        assert!(keys.contains("dir-a.yaml") && keys.contains("dir-b.yaml"));
        Ok(())
    })
}
