// Package dbus offers the agent on D-Bus, exactly as ipc/xml describes it.
//
// Everything is exported once, as subtrees of the root object, before the name is requested; objects are found by the
// path of the message. Properties are read from the snapshot at the time they are sent, and there is one PropertiesChanged for each
// object and commit.
package dbus
