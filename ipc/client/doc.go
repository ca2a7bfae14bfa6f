// Package client talks to the agent over D-Bus: it reads the tree of environments, units and jobs into typed values,
// calls the methods of org.smmd.Agent1 and its objects, and follows changes as they happen.
//
// Everything that follows changes subscribes first and reads then, and compares the order in which the bus delivered the
// answer and the signals; so nothing is missed in between and nothing is asked for twice.
//
// Errors of the agent are of type *[Error]; that there is no agent to ask is [ErrUnreachable].
package client
