# What a tenant's machine may do: run on what blue-host1.ps1 left.
Get-VMNetworkAdapter -VMName "blue1" | where {$_.MacAddress -eq "101010101105"} |
    Set-VMNetworkAdapter -DhcpGuard On -RouterGuard On
Set-VMNetworkAdapter -VMName gw-left -MacAddressSpoofing On -DynamicIPAddressLimit 64
Set-VMNetworkAdapter -VMName red1 -VirtualSubnetId 6001 -DynamicIPAddressLimit 0 -DhcpGuard Off

"blue1 is guarded: $((Get-VMNetworkAdapter blue1).DhcpGuard)"
Get-VMNetworkAdapter gw-left
