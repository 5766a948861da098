//! What there is to say of sections for whole servers.

use super::{JobStatus, ServerStatus};
use crate::job::{KnownDatabases, ServerJobs};

/// What there is to say of `sections`, of whose jobs `jobs` are.
pub(super) fn servers(sections: &[(ServerJobs, KnownDatabases)], jobs: &[JobStatus]) -> Vec<ServerStatus> {
    let mut servers = Vec::new();
    for (server, known) in sections {
        let of_it: Vec<&JobStatus> = jobs
            .iter()
            .filter(|job| job.server.as_deref() == Some(server.name()))
            .collect();
        let gone: Vec<String> = of_it.iter().filter(|job| job.gone).map(|job| job.job.clone()).collect();
        let error = known.trouble.as_ref().map(ToString::to_string);
        let mut problems = Vec::new();
        if let Some(error) = &error {
            problems.push(format!(
                "the server did not tell which databases it has, so new ones are not backed up: {error}"
            ));
        }
        servers.push(ServerStatus {
            server: server.name().to_owned(),
            databases: (of_it.len() - gone.len()) as u64,
            gone,
            error,
            problems,
        });
    }
    servers
}
