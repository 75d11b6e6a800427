# Run on what blue-host1.ps1 left.
$moved = Get-NetVirtualizationLookupRecord -CustomerAddress "10.1.1.12", "10.1.1.99" -VirtualSubnetID 6001
"blue2 was behind $($moved.ProviderAddress)"

# A VM moves, and its record's labels change with it.
$moved | Set-NetVirtualizationLookupRecord -ProviderAddress "192.168.3.30" -Context "moved" -VMName ""
Get-NetVirtualizationCustomerRoute | where {$_.VirtualSubnetID -eq 6001 -and $_.NextHop -eq "0.0.0.0"} | Set-NetVirtualizationCustomerRoute -Metric 20
Set-NetVirtualizationProviderAddress -ProviderAddress 192.168.1.10 -PrefixLength 16 -VlanID 0
Set-NetVirtualizationProviderRoute -DestinationPrefix "0.0.0.0/0" -Metric 7

# A second prefix and a machine in it, and one whose card was replaced.
New-NetVirtualizationCustomerRoute -RoutingDomainID "{11111111-2222-3333-4444-000000000000}" -VirtualSubnetID 6001 -DestinationPrefix "10.1.9.0/24" -NextHop "0.0.0.0"
New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress "10.1.9.9" -MACAddress 020000000999 -ProviderAddress "192.168.3.30" -Rule TranslationMethodEncap -WhatIf:$false
Remove-NetVirtualizationLookupRecord -MACAddress "10-10-10-10-11-05" -CustomerAddress "10.1.1.11" -Confirm:$false
New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress "10.1.1.11" -MACAddress 020000000911 -ProviderAddress "192.168.1.10" -Rule TranslationMethodEncap
New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress "10.1.1.13" -MACAddress 020000000913 -ProviderAddress "192.168.1.10" -Rule TranslationMethodEncap -WhatIf

Get-NetVirtualizationLookupRecord -Rule TranslationMethodEncap | ? VMName -ne "blue1" | Format-List
Get-NetVirtualizationProviderRoute
Get-VMNetworkAdapter * | where-object -FilterScript { $_.MacAddress -eq "101010101105" }
