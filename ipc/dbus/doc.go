// Package dbus offers the agent on D-Bus, exactly as ipc/xml describes it.
//
// Everything is exported once, as subtrees of the root object, before the name is requested; objects are found by the
// path of the message. Properties are read from the snapshot at the time they are sent, and there is one PropertiesChanged for each
// object and commit.
//
// A caller can break nothing but its own call: arguments must have the very types of the contract, options that it does
// not name are refused, what is too long is not taken, and the calls that change something are bounded
// ([Options.MaxChanges]). Text is made fit for the wire, because a bus cuts off whoever sends anything else.
package dbus
