//! `volsync-hub demo`: the hub itself against a simulated fleet, and what happens there.

mod keys;
mod screen;
mod summary;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::print_text;
use crate::controller::engine::Settings;
use crate::controller::run::{self, Options};
use crate::demo::changes::{News, changes};
use crate::demo::fleet::{DemoFleet, TIME_FACTOR};
use crate::demo::levers::{Lever, Levers};
use crate::demo::look::Look;
use crate::demo::verdict::{Truth, Verdict, verdict};
use crate::demo::view::View;
use crate::plan::fleet::PlanOptions;
use crate::policy::PolicyRules;
use crate::shard::Share;
use crate::telemetry::{self, LogFormat};
use crate::web::Health;
use keys::Keys;
use screen::{Frame, Screen};

/// Twice a second: nobody sees more, and the hub's objects are few.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// More news than any terminal has lines.
const NEWS_MAX: usize = 200;
/// The default of `--handover-after`.
const HANDOVER_AFTER_SECONDS: u32 = 900;
const NAMESPACE: &str = "volsync-system";

/// Shows the hub at work on a simulated fleet: nothing is needed but this program
///
/// One simulated management cluster and five simulated members run in this process, with 38 sources on 14
/// repositories; the hub that maintains them is the real one.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Ends after this time, such as 30s, with exit code 0 only if all that should be maintained is [default: Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = super::options::duration)]
    pub run_for: Option<Duration>,
    /// Prints lines, also on a terminal
    #[arg(long)]
    pub plain: bool,
    /// Shows the hub's own log, such as info or warn, on standard error
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

pub fn run(args: &DemoArgs) -> Result<ExitCode, String> {
    // The client library panics where it finds no provider, or two.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("failed to start the runtime: {error}"))?;
    let log = args.log.as_deref();
    let _telemetry =
        log.map(|filter| runtime.block_on(async { telemetry::init(filter, LogFormat::Text) })).transpose()?;
    runtime.block_on(show(args))
}

async fn show(args: &DemoArgs) -> Result<ExitCode, String> {
    let fleet = DemoFleet::start().await.map_err(|error| format!("failed to start the simulated fleet: {error}"))?;
    let config = super::run::hub_config(Some(&fleet.hub_kubeconfig())).await?;
    let client = kube::Client::try_from(config.clone()).map_err(|error| format!("failed to make a client: {error}"))?;
    let stop = CancellationToken::new();
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| format!("failed to listen for signals: {error}"))?;
    let mut hub = tokio::spawn(run::run(config, options(&fleet)?, Arc::new(Health::default()), stop.clone()));
    let (look, mut show) = (Look::new(&client), Show::new(args));
    let ended = tokio::select! {
        ended = &mut hub => Some(ended),
        () = show.run(&look, &fleet) => None,
        _ = terminate.recv() => None,
    };
    let (view, elapsed, changed) = show.end();
    let result = verdict(&view, &Truth::of(&fleet));
    stop.cancel();
    let ended = match ended {
        Some(ended) => ended,
        None => hub.await,
    };
    ended.map_err(|error| format!("the hub broke down: {error}"))??;
    print_text(&summary::text(&view, &result, &fleet, (elapsed, changed)))?;
    Ok(exit_code(args, &result))
}

fn say(text: &str) {
    // A reader that went away is no reason to stop.
    let _ = print_text(text);
}

/// Whoever ends the demo by hand wanted to end it.
fn exit_code(args: &DemoArgs, verdict: &Verdict) -> ExitCode {
    if args.run_for.is_some() && !verdict.missing.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn options(fleet: &DemoFleet) -> Result<Options, String> {
    let time_zone = "UTC".parse().map_err(|error| format!("cannot find the zone UTC: {error}"))?;
    Ok(Options {
        kubeconfig_dir: Some(fleet.kubeconfig_dir()),
        include_hub: None,
        namespace: NAMESPACE.to_owned(),
        hub_id: None,
        new_hub_id: "hub-demo".to_owned(),
        identity: "demo".to_owned(),
        // One process, and nobody else writes to its fleet.
        leader_election: false,
        volsync_namespace: NAMESPACE.to_owned(),
        allow_exec: false,
        allow_loopback: false,
        rules: PolicyRules::default(),
        plan: PlanOptions {
            time_zone,
            member_namespace: NAMESPACE.into(),
            handover_after_seconds: HANDOVER_AFTER_SECONDS / TIME_FACTOR,
            time_factor: TIME_FACTOR,
            ..PlanOptions::default()
        },
        settings: Settings {
            hub_id: String::new(),
            namespace: NAMESPACE.to_owned(),
            member_namespace: NAMESPACE.to_owned(),
            observe: false,
            mover_image: None,
            max_claims: 50,
            shrink_hold: Duration::from_mins(10),
            rollout_wave: jiff::SignedDuration::from_hours(24),
            time_factor: TIME_FACTOR,
            grant_factor: TIME_FACTOR,
            share: Share::Whole,
        },
    })
}

/// The next key, where there are any.
async fn pressed(screen: &mut Option<(Screen, Option<Keys>)>) -> u8 {
    match screen {
        Some((_, Some(keys))) => keys.next().await,
        _ => std::future::pending().await,
    }
}

/// What to do while it runs.
fn hints(fleet: &DemoFleet, keys: bool) -> Vec<String> {
    let mut hints = vec![
        format!("kubectl, the management cluster: export KUBECONFIG={}", fleet.hub_kubeconfig().display()),
        format!("kubectl, a member:               export KUBECONFIG={}/NAME.yaml", fleet.kubeconfig_dir().display()),
    ];
    hints.extend(keys.then(Lever::help).into_iter().flatten());
    hints
}

/// What is on the screen, and since when.
struct Show {
    started: Instant,
    ends: Option<Duration>,
    /// With the keys of whoever sits before it.
    screen: Option<(Screen, Option<Keys>)>,
    levers: Levers,
    view: View,
    news: VecDeque<(Duration, News)>,
}

impl Show {
    fn new(args: &DemoArgs) -> Self {
        let redraws = std::io::stdout().is_terminal() && !args.plain && args.log.is_none();
        Self {
            started: Instant::now(),
            ends: args.run_for,
            screen: redraws.then(|| (Screen::open(), Keys::listen())),
            levers: Levers::default(),
            view: View::default(),
            news: VecDeque::new(),
        }
    }

    /// Looks and shows until the time is over or somebody ends it.
    async fn run(&mut self, look: &Look, fleet: &DemoFleet) {
        if self.screen.is_none() {
            say(&summary::introduction(fleet));
        }
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                key = pressed(&mut self.screen) => self.pull(key, fleet),
                _ = tokio::signal::ctrl_c() => return,
            }
            // The simulated hub cluster answers; if it did not, the next look is soon.
            if let Ok(view) = look.look().await {
                self.take(view);
            }
            self.draw(fleet);
            if self.ends.is_some_and(|ends| self.started.elapsed() >= ends) {
                return;
            }
        }
    }

    fn pull(&mut self, key: u8, fleet: &DemoFleet) {
        if let Some(lever) = Lever::of(key) {
            let news = self.levers.pull(lever, fleet, &self.view);
            self.tell(news);
        }
    }

    fn take(&mut self, view: View) {
        for news in changes(&self.view, &view) {
            self.tell(news);
        }
        self.view = view;
    }

    fn tell(&mut self, news: News) {
        let elapsed = self.started.elapsed();
        if self.screen.is_none() {
            say(&screen::news_line(elapsed, &news));
        }
        self.news.push_back((elapsed, news));
        while self.news.len() > NEWS_MAX {
            self.news.pop_front();
        }
    }

    fn draw(&mut self, fleet: &DemoFleet) {
        let frame = Frame {
            elapsed: self.started.elapsed(),
            ends: self.ends,
            now: Timestamp::now(),
            hints: hints(fleet, matches!(&self.screen, Some((_, Some(_))))),
        };
        if let Some((screen, _)) = &mut self.screen {
            screen.draw(&self.view, &self.news, &frame);
        }
    }

    /// Leaves the screen as it was before. Also tells whether the fleet is otherwise than at the start by keys.
    fn end(self) -> (View, Duration, bool) {
        (self.view, self.started.elapsed(), !self.levers.are_at_rest())
    }
}
