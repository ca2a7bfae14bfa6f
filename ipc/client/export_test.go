package client

import "time"

// SetRestartGrace sets how long WaitJob waits for an agent that went away.
func SetRestartGrace(c *Client, d time.Duration) { c.restartGrace = d }
