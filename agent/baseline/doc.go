// Package baseline keeps the state that Reset goes back to, and goes back to it (TR-181, ExecEnv.{i}.Reset and Reset(); OSGi
// chapter 155, Reset).
//
// There is a baseline for each protocol: CWMP's is the state at the last "0 BOOTSTRAP" Inform, USP's that at the last Boot!
// after a factory reset. The protocol adapter says when that is ([Keeper.Record]); the first sync of an environment records both,
// so that there is always one. A baseline holds, for each environment, its units with their versions, levels and AutoStart. The
// packages of those units are pinned: a Reset needs no network.
//
// A unit that was found in its environment has no package in the store. It is exported in the background where the adapter can do that;
// one that cannot be had is not restorable, and a Reset that would need it says so.
//
// Reset is one operation ([Keeper.Operation]): it removes what came since, brings what was updated back to its version, installs
// what was removed, restores levels, AutoStart and the version of the environment, and restarts the environment last. It is not
// undone: what cannot be restored is told, and everything else is restored all the same.
package baseline
