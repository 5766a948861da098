//! What systemd hears: readiness, reloads, the watchdog. Without systemd nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

/// Sends `states`; a service manager that does not listen is no reason to stop.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// The service works, and this is its state.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The state of the service is another one now.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("systemd was not told: {error}"),
    }
}

/// The service is ending; it may take until `timeout` from now.
pub fn stopping(timeout: Duration) {
    let microseconds = u32::try_from(timeout.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(microseconds)]);
}

/// The service is alive.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be said: twice as often as the watchdog demands; rarely where there is none.
#[must_use]
pub fn heartbeat() -> Duration {
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    watchdog
        .unwrap_or(Duration::from_secs(60))
        .max(Duration::from_millis(100))
}
