//! One Pod from the moment it appears until it is gone.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Container, Event, Pod, PodSpec};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, answer_for};
use super::container::{Ended, Task, Why, termination_message};
use super::logs::Log;
use super::volumes::{Mounts, environment, expand, mount};
use super::{Shared, status};
use crate::harness::Fail;
use crate::harness::tools::say;

/// Between two attempts to start a container that lacks a Secret or ConfigMap.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// What a Pod gets between SIGTERM and SIGKILL at most: tests do not wait the usual 30 s.
const GRACE_MAX: Duration = Duration::from_secs(2);

/// Lives through one Pod. Ends when the Pod is gone.
pub async fn live(shared: Arc<Shared>, pod: Pod, gone: CancellationToken) {
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let pods = Api::namespaced(shared.client.clone(), &pod.namespace().unwrap_or_default());
    let Some(spec) = pod.spec.clone() else { return };
    let dir = shared.dir.join(name.replace('/', "_"));
    let life = Life { shared, pods, pod, spec, dir };
    if !life.has_ended()
        && !gone.is_cancelled()
        && let Err(error) = life.through(&gone).await
    {
        say(&format!("stand-in kubelet: pod {name}: {error}"));
    }
    gone.cancelled().await;
    // It may also be that the cluster stops, or that the Pod is gone already.
    let _ = life.remove().await;
}

struct Life {
    shared: Arc<Shared>,
    pods: Api<Pod>,
    pod: Pod,
    spec: PodSpec,
    dir: PathBuf,
}

impl Life {
    fn has_ended(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    async fn through(&self, gone: &CancellationToken) -> Result<(), Fail> {
        let answer = {
            let mut rules = self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner);
            answer_for(&mut rules, &self.pod)
        };
        if let Some(reason) = self.unsuitable(&answer) {
            self.event("FailedScheduling", &reason).await?;
            return self.report(&status::unschedulable(&reason)).await;
        }
        self.bind().await?;
        let [container] = self.spec.containers.as_slice() else {
            return Err("the stand-in kubelet runs Pods of one container only".into());
        };
        if let Answer::AtOnce(message) = &answer {
            let ended = Ended { code: 0, why: Why::Itself, message: message.clone() };
            return self.report(&status::ended(container, Timestamp::now(), &ended)).await;
        }
        if matches!(answer, Answer::NoImage) {
            let image = container.image.as_deref().unwrap_or_default();
            let message = format!("Back-off pulling image \"{image}\"");
            self.event("Failed", &format!("Failed to pull image \"{image}\": not found")).await?;
            return self.report(&status::waiting(container, "ImagePullBackOff", &message)).await;
        }
        std::fs::create_dir_all(&self.dir)?;
        let log = match &answer {
            Answer::Elsewhere(path) => Log::of_file(path),
            _ => Log::new(&self.dir.join("log")),
        };
        let Some(task) = self.prepare(container, gone).await? else { return Ok(()) };
        let key = (self.pod.namespace().unwrap_or_default(), self.pod.name_any(), container.name.clone());
        self.shared.logs.add(key, log.clone());
        let started = Timestamp::now();
        self.report(&status::running(container, started)).await?;
        let ended = self.carry_out(&answer, &task, container, &log, gone).await;
        log.end();
        match ended? {
            Some(ended) => self.report(&status::ended(container, started, &ended)).await,
            None => Ok(()),
        }
    }

    /// Runs the command, or does what the test wants instead. `None` if the Pod went away from under it.
    async fn carry_out(
        &self,
        answer: &Answer,
        task: &Task,
        container: &Container,
        log: &Log,
        gone: &CancellationToken,
    ) -> Result<Option<Ended>, Fail> {
        let ended = |code, why, message: &str| Ok(Some(Ended { code, why, message: message.to_owned() }));
        match answer {
            Answer::Exit { code, message, log: lines, after } => {
                lines.lines().for_each(|line| log.write(line));
                tokio::select! {
                    () = tokio::time::sleep(*after) => ended(*code, Why::Itself, message),
                    () = gone.cancelled() => Ok(None),
                }
            }
            Answer::OutOfMemory => ended(137, Why::OutOfMemory, ""),
            Answer::CannotStart(reason) => ended(128, Why::CannotStart, reason),
            Answer::Hang | Answer::Elsewhere(_) => {
                let deadline = task.deadline.unwrap_or(Duration::MAX);
                tokio::select! {
                    () = tokio::time::sleep(deadline) => ended(143, Why::Deadline, ""),
                    () = gone.cancelled() => Ok(None),
                }
            }
            Answer::Run | Answer::AtOnce(_) | Answer::Unschedulable | Answer::NoImage => {
                let ended = match task.run(log, gone).await {
                    Ok(ended) => ended,
                    Err(error) => Ended { code: 128, why: Why::Itself, message: error.to_string() },
                };
                let wants_log = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
                let message = match &ended.message {
                    empty if empty.is_empty() => {
                        termination_message(&self.message_file(), log, wants_log && ended.code != 0)
                    }
                    message => message.clone(),
                };
                Ok(Some(Ended { message, ..ended }))
            }
        }
    }

    fn unsuitable(&self, answer: &Answer) -> Option<String> {
        let labels = &self.shared.labels;
        let wanted = self.spec.node_selector.iter().flatten();
        let missing = wanted.into_iter().any(|(key, value)| labels.get(key) != Some(value));
        (missing || matches!(answer, Answer::Unschedulable))
            .then(|| "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.".to_owned())
    }

    async fn bind(&self) -> Result<(), Fail> {
        if self.spec.node_name.is_some() {
            return Ok(());
        }
        let binding: Binding = serde_json::from_value(json!({
            "metadata": {"name": self.pod.name_any()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.shared.node},
        }))?;
        let name = self.pod.name_any();
        let _: Value = self.pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        Ok(())
    }

    /// Waits until everything the container refers to is there. `None` if the Pod went away meanwhile.
    async fn prepare(&self, container: &Container, gone: &CancellationToken) -> Result<Option<Task>, Fail> {
        let mut told = String::new();
        loop {
            let error = match self.task(container).await {
                Ok(task) => return Ok(Some(task)),
                Err(error) => error.to_string(),
            };
            if error != told {
                self.event("Failed", &format!("Error: {error}")).await?;
                self.report(&status::waiting(container, "CreateContainerConfigError", &error)).await?;
                told = error;
            }
            tokio::select! {
                () = tokio::time::sleep(TRY_AGAIN) => {}
                () = gone.cancelled() => return Ok(None),
            }
        }
    }

    async fn task(&self, container: &Container) -> Result<Task, Fail> {
        let shared = &self.shared;
        let mut mounts = mount(&shared.client, &self.pod, container, &self.dir).await?;
        let message_path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        std::fs::write(self.message_file(), "")?;
        mounts.add(message_path, &self.message_file());
        let stated = environment(&shared.client, &self.pod, container, &mounts).await?;
        let mut env = self.image_environment(&mounts);
        env.extend(stated.iter().cloned());
        let parts = container.command.iter().chain(&container.args).flatten();
        let command = parts.map(|part| mounts.rewrite(&expand(part, &stated))).collect();
        let grace = u64::try_from(self.spec.termination_grace_period_seconds.unwrap_or(30)).unwrap_or(0);
        let deadline = self.spec.active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Ok(Task {
            command,
            env,
            dir: self.working_dir(container, &mounts)?,
            deadline: deadline.map(Duration::from_secs),
            grace: Duration::from_secs(grace).min(GRACE_MAX),
        })
    }

    fn image_environment(&self, mounts: &Mounts) -> Vec<(String, String)> {
        let setup = &self.shared.setup;
        let dirs = setup.path.iter().map(|dir| dir.display().to_string());
        let path: Vec<_> = dirs.chain(["/usr/local/bin:/usr/bin:/bin".to_owned()]).collect();
        let mut env = vec![("PATH".to_owned(), path.join(":")), ("HOSTNAME".to_owned(), self.pod.name_any())];
        env.extend(setup.env.iter().map(|(name, value)| (name.clone(), mounts.rewrite(value))));
        env.extend(setup.outside.clone());
        env
    }

    fn working_dir(&self, container: &Container, mounts: &Mounts) -> Result<PathBuf, Fail> {
        let inside = container.working_dir.as_deref().and_then(|dir| mounts.here(dir));
        let dir = inside.unwrap_or_else(|| self.dir.join("root"));
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    fn message_file(&self) -> PathBuf {
        self.dir.join("termination-log")
    }

    async fn report(&self, status: &Value) -> Result<(), Fail> {
        let patched =
            self.pods.patch_status(&self.pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await;
        match patched {
            // It is gone: nobody is left to tell.
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            other => other.map(drop).map_err(Fail::from),
        }
    }

    async fn event(&self, reason: &str, message: &str) -> Result<(), Fail> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let now = Timestamp::now();
        let event: Event = serde_json::from_value(json!({
            "metadata": {"generateName": format!("{}.", self.pod.name_any()), "namespace": namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace,
                "name": self.pod.name_any(), "uid": self.pod.uid()},
            "type": "Warning", "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": "stand-in-kubelet", "host": self.shared.node},
        }))?;
        let events: Api<Event> = Api::namespaced(self.shared.client.clone(), &namespace);
        events.create(&PostParams::default(), &event).await?;
        Ok(())
    }

    /// Deletes a Pod that waits for its kubelet to let it go.
    async fn remove(&self) -> Result<(), Fail> {
        let name = self.pod.name_any();
        let Some(pod) = self.pods.get_opt(&name).await? else { return Ok(()) };
        if pod.uid() != self.pod.uid() || pod.metadata.deletion_timestamp.is_none() {
            return Ok(());
        }
        let uid = Preconditions { uid: pod.uid(), resource_version: None };
        let now = DeleteParams { grace_period_seconds: Some(0), preconditions: Some(uid), ..DeleteParams::default() };
        self.pods.delete(&name, &now).await?;
        Ok(())
    }
}
