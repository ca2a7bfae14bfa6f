// Package volume keeps the application data of deployment units (TR-181, ExecEnv.{i}.ApplicationData.; a volume in the code): directories of the device that adapters let the
// execution units of a deployment unit see.
//
// A volume belongs to a UUID on an environment and not to one version of the unit, which may even be gone while its data stays. Its row is in the inventory, its directory
// at <state>/data/<environment>/<number of the row>. Whoever uses it may be any user, so the directory itself is open to all; those above it are the agent's alone, and nobody reaches it but
// through an execution unit.
//
// Rows decide. An operation plans what it makes of the volumes of a unit ([Keeper.Plan]), makes the directories ([Keeper.Make]), and records the plan with its own success
// ([Keeper.Record]). A directory whose row is gone, or never came because the operation failed, is useless and is collected ([Keeper.RemoveUseless]): so nothing is lost before it may be, and nothing is left
// wherever an operation breaks off.
//
// What volumes hold is measured ([Keeper.Run]), and nobody keeps them from holding more.
//
// The content of a volume that is kept until the unit is stopped is removed when the unit is started again ([Keeper.Ready]).
package volume
