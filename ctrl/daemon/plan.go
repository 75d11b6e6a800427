package daemon

import (
	"errors"

	"paca/conf"
	"paca/ctrl/policyfile"
	"paca/dataplane/policy"
)

// put applies all objects of a file to a Book and returns what changed. Faults
// tell the file's line.
func put(b *policy.Book, f *policyfile.File) ([]policy.Change, error) {
	changes := make([]policy.Change, len(f.Objects))
	for i, o := range f.Objects {
		changes[i] = policy.Change{Verb: policy.Put, Object: o}
	}
	applied, err := b.Apply(changes)
	if err == nil {
		return applied, nil
	}
	var faults []error
	for _, fault := range policy.Faults(err) {
		faults = append(faults, f.Fault(fault.Index, fault.Field, "%s", fault.Text()))
	}
	return nil, errors.Join(faults...)
}

// hostBook is a Book that holds what the host file does, for good.
func hostBook(c *conf.Config) (*policy.Book, error) {
	b := policy.NewBook()
	applied, err := put(b, policyfile.Host(c))
	for _, a := range applied {
		b.Pin(a.Object.Key())
	}
	return b, err
}

// seed applies a policy file to a Book and returns what changed.
func seed(b *policy.Book, file string) ([]policy.Change, error) {
	p, err := conf.LoadPolicy(file)
	if err != nil {
		return nil, err
	}
	return put(b, policyfile.New(p))
}

// Check validates a host file, and the policy file it names, without touching
// the machine. Every fault is a *conf.Fault, all of them joined.
func Check(file string) error {
	c, err := conf.Load(file)
	if err != nil {
		return err
	}
	b, err := hostBook(c)
	if c.Policy.Seed == "" {
		return err
	}
	if err != nil {
		b = policy.NewBook() // the policy file is judged all the same, by itself
	}
	_, seedErr := seed(b, c.Policy.Seed)
	return errors.Join(err, seedErr)
}
