//! What follows the definition of an object: its comment, security labels and privileges.

use super::emit::Emit;
use super::object::{Acl, Components, DumpId, Object};
use super::{Catalog, attachment};
use crate::error::Result;

/// How statements refer to an object.
pub struct Target<'a> {
    /// Type, for example `FUNCTION`.
    pub kind: &'a str,
    /// Name as it stands after the type and the schema, quoted.
    pub name: &'a str,
    /// Name of the owner.
    pub owner: &'a str,
}

/// Adds the entry of the comment of `object`, if it is wanted.
pub fn comment(emit: &mut Emit, object: &Object, target: &Target) {
    if object.wants(Components::COMMENT) {
        let namespace = emit.cat.namespace_name(object.namespace);
        attachment::comment(
            emit,
            target.kind,
            target.name,
            namespace,
            target.owner,
            object.catalog_id,
            0,
            object.dump_id,
        );
    }
}

/// Adds the entry of the security labels of `object`, if they are wanted.
pub fn security_label(emit: &mut Emit, object: &Object, target: &Target) {
    if object.wants(Components::SECLABEL) {
        let namespace = emit.cat.namespace_name(object.namespace);
        attachment::security_label(
            emit,
            target.kind,
            target.name,
            namespace,
            target.owner,
            object.catalog_id,
            0,
            object.dump_id,
        );
    }
}

/// Adds the entry of the privileges on `object`, if they are wanted.
///
/// # Errors
/// The server sent no proper ACL.
pub fn acl(emit: &mut Emit, object: &Object, target: &Target, acl: &Acl) -> Result<()> {
    if object.wants(Components::ACL) {
        let namespace = emit.cat.namespace_name(object.namespace);
        attachment::acl(
            emit,
            object.dump_id,
            None,
            target.kind,
            target.name,
            None,
            namespace,
            target.owner,
            None,
            acl,
        )?;
    }
    Ok(())
}

/// Notes that an object has privileges of its own.
pub fn mark_acl(cat: &mut Catalog, id: DumpId, has_acl: bool) {
    if let (true, Some(object)) = (has_acl, cat.get_mut(id)) {
        object.components |= Components::ACL;
    }
}
