package report

import (
	"cmp"
	"slices"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
)

// notify adds a notification for USP.
func (k *Keeper) notify(tx *inventory.Tx, n model.Notification) error {
	if !k.USP {
		return nil
	}
	st, err := tx.Store()
	if err != nil {
		return err
	}
	id, err := st.NextNumber(notificationNumber)
	if err != nil {
		return err
	}
	n.ID, n.Time = uint64(id), k.Clock.Wall()
	if err := notifications.Put(st, id, n); err != nil {
		return err
	}
	all := append(slices.Clip(tx.Notifications), &n)
	for len(all) > maxWaiting {
		oldest := all[0]
		k.lost(tx, "the oldest notification that waits for a USP controller was dropped: too many wait", "notification", oldest.ID)
		if err := notifications.Delete(st, uint32(oldest.ID)); err != nil {
			return err
		}
		all = all[1:]
	}
	tx.SetNotifications(all, n.ID)
	return nil
}

// stateChange tells what became of a deployment unit (TR-181, DUStateChange!).
func (k *Keeper) stateChange(tx *inventory.Tx, res model.Result) error {
	return k.notify(tx, model.Notification{Kind: model.NotifyDUStateChange, Result: &res})
}

// commandEnded tells the end of an operation that a command of USP asked for. One that was open while the device restarted counts as failed, whatever became
// of it (TR-369, Operate).
func (k *Keeper) commandEnded(tx *inventory.Tx, c operation.Conclusion) error {
	if c.Origin.Command == "" {
		return nil
	}
	if c.Fault == fault.None && c.Rebooted {
		c.Fault, c.Message = fault.RequestDenied, "the device restarted while the command was carried out"
	}
	return k.notify(tx, model.Notification{
		Kind: model.NotifyOperationComplete, Job: c.Job, Origin: c.Origin, Fault: c.Fault, Message: clip(c.Message), Outputs: c.Results,
	})
}

// restarts tells the restarts of environments (TR-181, ExecEnv.{i}.Restarted!): it is part of every transaction.
func (k *Keeper) restarts(tx *inventory.Tx, changes []model.Change) error {
	for _, c := range changes {
		before, _ := c.Old.(*model.ExecEnv)
		now, _ := c.New.(*model.ExecEnv)
		if before == nil || now == nil || now.RestartCount <= before.RestartCount {
			continue
		}
		if err := k.notify(tx, model.Notification{Kind: model.NotifyRestarted, Env: now.ID, Reason: now.RestartReason}); err != nil {
			return err
		}
	}
	return nil
}

// AcknowledgeNotifications removes the notifications up to a number, inclusive.
func (k *Keeper) AcknowledgeNotifications(tx *inventory.Tx, upTo uint64) error {
	n, found := slices.BinarySearchFunc(tx.Notifications, upTo, func(n *model.Notification, id uint64) int { return cmp.Compare(n.ID, id) })
	if found {
		n++
	}
	if n == 0 {
		return nil
	}
	st, err := tx.Store()
	if err != nil {
		return err
	}
	for _, told := range tx.Notifications[:n] {
		if err := notifications.Delete(st, uint32(told.ID)); err != nil {
			return err
		}
	}
	tx.SetNotifications(slices.Clone(tx.Notifications[n:]), tx.LastNotification)
	return nil
}
