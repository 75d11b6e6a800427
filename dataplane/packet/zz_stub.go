package packet

func IsNVE(inner []byte, l *Layout) bool                { return false }
func ClampMSS(frame []byte, l *Layout, mss uint16) bool { return false }
