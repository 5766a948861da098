//! What is to be restored and the server are read, and all is decided before anything is done.

use std::collections::BTreeSet;

use tokio::sync::Mutex;

use super::create::Archived;
use super::live;
use super::needs::Needs;
use super::new_roles::{self, NewRole};
use super::origin::{Content, Origin, is_partial};
use super::other;
use super::plan::{Goal, Mode, Plan, Wishes};
use super::run::{Prepared, Request};
use super::selection::choose;
use super::survey::survey;
use super::trial::{self, Trial};
use super::{changes, in_place, pooled};
use crate::engine::postgres::identity;
use crate::engine::postgres::target::{Target, UNTIMED, run};
use crate::error::Result;

/// Of a swap, when the backups of the job lack some of the database.
const PARTIAL: &str = "this job backs up only a part of the database: what is not in the backup will only be in the database \
    that is kept";

impl<'a> Prepared<'a> {
    /// Reads what is to be restored and the server, and plans.
    ///
    /// # Errors
    /// There is no such backup or file, it cannot be read, or the server cannot be reached. What is in the way of
    /// the restore itself is in the plan.
    pub async fn new(mut request: Request<'a>) -> Result<Prepared<'a>> {
        let mut content = Content::open(&request.origin, &request.job.keys, &request.options).await?;
        let warnings = content.warnings.clone();
        let new_tables = match request.back {
            true => in_place::take_back(&content, &mut request.options),
            false => BTreeSet::new(),
        };
        let dsn = request.job.source.dsn()?;
        let database = match request.mode {
            Mode::New(name) => name.to_owned(),
            Mode::Swap | Mode::InPlace => dsn.database.clone(),
        };
        let target = Target::new(dsn);
        let part = request.options.is_part();
        let mut chosen = choose(&content, &request.options, &new_tables)?;
        let mut needs = match &chosen {
            Some(chosen) => Needs::of(chosen),
            None => content.needs(),
        };
        if let Some(role) = &request.options.role {
            needs.add_owner(role);
        }
        let client = match request.mode {
            Mode::InPlace => target.session(&database).await?,
            Mode::Swap | Mode::New(_) => target.outside(&database).await?,
        };
        pooled::refuse(&target, &client).await?;
        if request.mode != Mode::InPlace {
            run(&client, UNTIMED).await?;
        }
        // No entry names it.
        if chosen.is_none() {
            needs.roles.extend(content.public_owner().map(str::to_owned));
        }
        if request.mode != Mode::InPlace && !live::names(&client).await?.contains(&database) {
            let entries = chosen.as_deref().unwrap_or(content.entries());
            needs.add(Archived::find(entries)?.needs());
        }
        let mut survey = survey(&target, &client, &database, &needs).await?;
        let globals = content.globals().await;
        let missing = &mut survey.missing.roles;
        if request.options.no_privileges && !request.create_roles {
            // A policy for a role that is not there is for nobody.
            let spared = needs.spare(missing);
            missing.retain(|role| !spared.contains(role));
            request.options.without_roles = spared;
            if !request.options.without_roles.is_empty() {
                content.leave_out_roles(&request.options.without_roles)?;
                chosen = choose(&content, &request.options, &new_tables)?;
            }
        }
        let mut new_roles: Vec<NewRole> = Vec::new();
        if request.create_roles {
            new_roles = new_roles::plan(&client, missing, globals.as_deref(), survey.major).await?;
            missing.clear();
        }
        let goal = Goal {
            job: &request.job.name,
            server: &target.to_string(),
            database: &database,
            needs: &needs,
            wishes: Wishes {
                mode: request.mode,
                safety: request.safety,
                force: request.force,
                keep_going: request.tolerance.keep_going,
            },
        };
        let mut plan = Plan::new(content.describe(), globals.as_deref(), &goal, &survey);
        plan.warnings.extend(warnings);
        let mut here = identity::of_database(&client, &target.dsn(&database), &database).await?;
        // A job may read a standby and restore to its primary.
        if let Origin::Backup { job, .. } = &request.origin
            && job.name == request.job.name
        {
            here.places.extend(job.source.identity().places);
        }
        // Nothing on a standby is ever replaced: what is in the way is only that.
        if !survey.in_recovery {
            other::note(&mut plan, &content, &here, request.from_other).await;
        }
        plan.warnings.extend(content.warned());
        plan.tolerate(request.tolerance, request.accept_missing, content.entries());
        plan.part = part;
        plan.changes = changes::told(&request.options);
        plan.obstacles
            .extend(changes::unknown_roles(&request.options, &content.named));
        plan.create_roles(new_roles, &survey);
        match request.mode {
            Mode::InPlace => {
                plan.obstacles
                    .extend(in_place::event_triggers::at_login(&client).await?);
                match chosen.as_ref().filter(|_| part) {
                    None => plan
                        .obstacles
                        .extend(in_place::survey::obstacles(&client, survey.live.as_ref(), content.entries()).await?),
                    Some(chosen) => {
                        let dsn = target.dsn(&database);
                        let tables = in_place::Tables::of(chosen, content.entries(), &new_tables, &request.options);
                        in_place::survey::tables(&dsn, chosen, &tables, content.entries(), &new_tables, &mut plan)
                            .await?;
                    }
                }
                plan.obstacles.extend(in_place::survey::refused(&content, request.job));
            }
            Mode::Swap if is_partial(request.job) => plan.warnings.push(PARTIAL.to_owned()),
            Mode::Swap | Mode::New(_) => {}
        }
        if request.mode != Mode::InPlace && plan.obstacles.is_empty() {
            let trial = Trial {
                target: &target,
                database: &database,
                live: survey.live.as_ref().map(|live| &live.database),
                entries: chosen.as_deref().unwrap_or(content.entries()),
                needs: &needs,
                options: &request.options,
                now: request.clock.now(),
            };
            plan.refused_extensions(
                &trial::refused(&trial).await?,
                request.mode,
                request.tolerance.keep_going,
            );
        }
        Ok(Prepared {
            merged: request.options.role_map.merges(&content.named),
            request,
            plan,
            target,
            database,
            content,
            chosen,
            part,
            new_tables,
            missing: Vec::new(),
            safety: Mutex::new(()),
        })
    }
}
