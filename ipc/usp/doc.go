// Package usp puts the agent behind a USP Broker: a USP Service (TR-369 1.4) on a Unix domain socket that
// is nothing but a client of org.smmd.USP1.
//
// A [Service] connects to the socket on which the Broker awaits Agents, registers Device.SoftwareModules., and answers what the Broker
// asks: what is about software modules it passes on over D-Bus, answer and fault as they are. Two tables are its own, because the Broker expects
// them of every Service although they are not registered:
//
//	Device.LocalAgent.Subscription.{i}.  what the Broker wants to be told; lives as long as the connection
//	Device.LocalAgent.Request.{i}.       commands that go on; each row is an org.smmd.Job1 and has its number
//
// News go the other way: what org.smmd.USP1 tells is sent as Notify to each subscription that it matches, and acknowledged at the agent once it is
// written. So an Event or an OperationComplete is told after a restart of either side, and the order of the agent is kept. An
// OperationComplete never overtakes the answer to its Operate.
//
// A connection is one session. Requests that read are served side by side by a bounded number of workers, requests that change something
// one after another in the order in which they came, and each has a time limit, because a Broker may stand still until it is
// answered; the reader of the connection waits only while all of them are busy. What cannot be understood is answered with an Error where there is a message to answer, and
// dropped otherwise. A session that ends, for whatever reason, is followed by another one after a random 1 to 5 seconds; an agent that is
// restarted does not end it.
package usp
