//! Who may do what: one table.

use crate::identity::Role;

/// Something that a handler guards.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Permission {
    /// Enter rooms, list rooms and cameras, watch a camera's preview.
    Join,
    ManageCameras,
    ManagePeople,
    ManageRecordings,
    /// Make, change and close rooms, and the host's tools in them.
    ManageRooms,
    ReadAudit,
    /// The system page and the metrics from elsewhere than this machine.
    ReadSystem,
}

impl Permission {
    pub const ALL: [Self; 7] = [
        Self::Join,
        Self::ManageCameras,
        Self::ManagePeople,
        Self::ManageRecordings,
        Self::ManageRooms,
        Self::ReadAudit,
        Self::ReadSystem,
    ];

    /// The table.
    pub fn is_given_to(self, role: Role) -> bool {
        use Permission as P;
        match role {
            Role::Admin => true,
            Role::Dispatcher => {
                matches!(self, P::Join | P::ManageCameras | P::ManageRecordings | P::ManageRooms)
            }
            Role::Member => matches!(self, P::Join),
        }
    }
}
