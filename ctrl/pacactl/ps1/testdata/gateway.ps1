<# A tenant with two virtual subnets and a gateway in a third, on a host of the
   older release: wildcards have no type.                                        #>
Import-Module NetWNV
Write-Host "Policy of tenant Green" -ForegroundColor Green

$rdid = '{77777777-2222-3333-4444-000000000000}'
$rule = 'TranslationMethodEncap'
$gw = @{ Rule = $rule; MACAddress = '00-15-5D-07-00-FE'
         ProviderAddress = "192.168.1.10" }

# The routers' MACs: with the dummy PA, and with one of this host.
New-NetVirtualizationLookupRecord -CustomerAddress 10.7.1.1 -VirtualSubnetID 7001 -MACAddress 0200000000aa -ProviderAddress 169.254.254.254 -Rule $rule
New-NetVirtualizationLookupRecord -CustomerAddress 10.7.2.1 -VirtualSubnetID 7002 -MACAddress 0200000000aa -ProviderAddress 192.168.1.10 -Rule $rule

New-NetVirtualizationLookupRecord -CustomerAddress 10.7.1.11 -VirtualSubnetID 7001 -MACAddress 001122334455 -ProviderAddress 192.168.2.20 -Rule $rule -CustomerID "Green"
New-NetVirtualizationLookupRecord -CustomerAddress 'fd00:7:1::11' -VirtualSubnetID 7001 -MACAddress 001122334455 -ProviderAddress 192.168.2.20 -Rule $rule -Context 'it''s "v6"'
New-NetVirtualizationLookupRecord -CustomerAddress 10.7.2.11 -VirtualSubnetID 0x1B5A -MACAddress 020000000211 -ProviderAddress 192.168.2.20 -Rule 1

# The gateway: its own address, and a wildcard for whatever is behind it, by family.
New-NetVirtualizationLookupRecord @gw -VirtualSubnetID 7254 -CustomerAddress '10.7.254.254'
New-NetVirtualizationLookupRecord @gw -VirtualSubnetID 7254 -CustomerAddress '0.0.0.0'
New-NetVirtualizationLookupRecord @gw -VirtualSubnetID 7254 -CustomerAddress '::'
# A VM that learns its address, which only the newer release has.
New-NetVirtualizationLookupRecord -CustomerAddress 0.0.0.0 -VirtualSubnetID 7002 -MACAddress 020000000212 -ProviderAddress 192.168.2.20 -Rule $rule -Type L2Only

New-NetVirtualizationCustomerRoute -RoutingDomainID $rdid -VirtualSubnetID 7001 -DestinationPrefix '10.7.1.0/24' -NextHop 0.0.0.0
New-NetVirtualizationCustomerRoute -RoutingDomainID $rdid -VirtualSubnetID 7001 -DestinationPrefix 'fd00:7:1::/64' -NextHop '::'
New-NetVirtualizationCustomerRoute -RoutingDomainID $rdid -VirtualSubnetID 7002 -DestinationPrefix '10.7.2.0/24' -NextHop 0.0.0.0
New-NetVirtualizationCustomerRoute -RoutingDomainID $rdid -VirtualSubnetID 7254 -DestinationPrefix '10.7.254.0/24' -NextHop 0.0.0.0
New-NetVirtualizationCustomerRoute -RoutingDomainID $rdid -VirtualSubnetID 7254 -DestinationPrefix '0.0.0.0/0' -NextHop 10.7.254.254 -Metric 10

$index = (Get-NetAdapter -Name 'vSwitch uplink').ifIndex
New-NetVirtualizationProviderAddress -InterfaceIndex $index -ProviderAddress 192.168.1.10 -PrefixLength 24 -VlanID 7 -MACAddress 020000000101 | Out-Null
New-NetVirtualizationProviderRoute -Int $index -Dest 192.168.2.0/24 -NextHop 192.168.1.1 -Metric 5
Set-NetVirtualizationGlobal -UseExternalRouter $true
Set-VMNetworkAdapter -VMName Gateway01 -StaticMacAddress '00155D0700FE' -VirtualSubnetId 7254

Get-NetVirtualizationGlobal
Select-NetVirtualizationNextHop 10.7.1.11 8.8.8.8 7001
Select-NetVirtualizationNextHop -DestinationCustomerAddress 10.7.2.11 -SourceVirtualSubnetID 7001
